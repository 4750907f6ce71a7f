/**
 * From the pieces of a vocabulary to text, a piece at a time.
 *
 * tokenizer.json describes decoding as a chain of steps over the list of all pieces. Here each step is a `Stage` that
 * takes one part and gives back what can no longer change, keeping the rest (half a character, a space that a later
 * step may remove) until it can. The concatenation is therefore the text of the whole list by construction, and a
 * piece costs the same however long the text is.
 *
 * It is what the Rust library gives, but for one thing: where a run of byte pieces is not UTF-8, the library replaces the
 * whole run, and here the characters in it that are whole stay.
 */

import { byteFallback, byteLevel } from "./bytes.js";
import { isObject, type JsonObject } from "./files.js";
import { loadLibrary } from "./library.js";
import {
  collect,
  firstAndRest,
  lastAndRest,
  map,
  replaceInText,
  type Stage,
  stripText,
} from "./stages.js";

/** Decodes one sequence of pieces. Spent after `end`. */
export interface PieceDecoder {
  /** Adds a piece; returns the text that became certain. */
  push(piece: string): string;
  /** Returns the text that was still open, as it is when nothing follows. */
  end(): string;
}

/** What `clean_up_tokenization_spaces` means: these replacements, one after the other. */
const CLEAN_UP: readonly (readonly [string, string])[] = [
  [" .", "."],
  [" ?", "?"],
  [" !", "!"],
  [" ,", ","],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
];

/**
 * Prepares a decoder; each call of the result starts a new sequence. Throws what is wrong with the section, and what
 * cannot be done.
 *
 * @param decoder section of tokenizer.json; null joins the pieces with spaces
 * @param cleanUp whether `clean_up_tokenization_spaces` is on
 */
export function compileDecoder(decoder: unknown, cleanUp: boolean): () => PieceDecoder {
  const stages: (() => Stage)[] = [];
  if (decoder === null) {
    stages.push(() => firstAndRest(unchanged, (piece) => ` ${piece}`));
  } else {
    // Once the pieces are fused, a part is any stretch of one long piece and its borders mean nothing.
    let fused = false;
    const steps = flatten(decoder);
    steps.forEach((step, i) => {
      const next = steps[i + 1];
      const nextFuses = next === undefined || next.type === "Fuse";
      stages.push(...(fused ? stagesOfText(step) : [stageOfPieces(step, nextFuses)]));
      fused ||= step.type === "Fuse" || step.type === "ByteLevel";
    });
  }
  if (cleanUp) for (const [from, to] of CLEAN_UP) stages.push(() => replaceInText(from, to));
  return () => chain(stages.map((create) => create()));
}

function flatten(decoder: unknown): JsonObject[] {
  if (!isObject(decoder)) throw new TypeError("the decoder must be an object");
  if (decoder.type !== "Sequence") return [decoder];
  if (!Array.isArray(decoder.decoders))
    throw new TypeError('the decoder\'s "decoders" must be a list');
  return decoder.decoders.flatMap(flatten);
}

function chain(stages: readonly Stage[]): PieceDecoder {
  return {
    push(piece) {
      let parts = [piece];
      for (const stage of stages) parts = parts.flatMap((part) => stage.push(part));
      return parts.join("");
    },
    end() {
      let parts: string[] = [];
      for (const stage of stages) {
        parts = [...parts.flatMap((part) => stage.push(part)), ...stage.end()];
      }
      return parts.join("");
    },
  };
}

/** A step that sees the pieces one by one. */
function stageOfPieces(step: JsonObject, nextFuses: boolean): () => Stage {
  switch (step.type) {
    case "ByteLevel":
      return byteLevel;
    case "ByteFallback":
      // A run of byte pieces is one piece to what follows, unless that does not look at borders.
      return () => byteFallback(!nextFuses);
    case "Fuse":
      return () => map(unchanged);
    case "Replace": {
      const change = replacing(step);
      return () => map(change);
    }
    case "Strip": {
      const { character, start, stop } = stripping(step);
      return () =>
        map((piece) => {
          const strip = stripText(character, start, stop);
          return strip.push(piece).join("");
        });
    }
    case "Metaspace": {
      const { mark, dropsFirst } = metaspace(step);
      const spaced = (piece: string) => piece.replaceAll(mark, " ");
      const first = (piece: string) => piece.replaceAll(mark, "");
      return () => firstAndRest(dropsFirst ? first : spaced, spaced);
    }
    case "WordPiece": {
      const prefix = text(step, "prefix", "##");
      const clean = step.cleanup === false ? unchanged : cleanUpPiece;
      return () =>
        firstAndRest(clean, (piece) =>
          clean(piece.startsWith(prefix) ? piece.slice(prefix.length) : ` ${piece}`),
        );
    }
    case "BPEDecoder": {
      const suffix = text(step, "suffix", "</w>");
      return () =>
        lastAndRest(
          (piece) => replace(piece, suffix, " "),
          (piece) => replace(piece, suffix, ""),
        );
    }
    case "CTC": {
      const change = speech(step);
      return () => {
        let last: string | undefined;
        return map((piece) => {
          const repeated = piece === last;
          last = piece;
          return repeated ? "" : change(piece);
        });
      };
    }
  }
  throw new TypeError(`the decoder has the type ${JSON.stringify(step.type)}, which is unknown`);
}

/** A step that comes after the pieces were fused: to it the text is one piece, the first and the last. */
function stagesOfText(step: JsonObject): (() => Stage)[] {
  switch (step.type) {
    case "Fuse":
      return [];
    case "Replace": {
      const { String: pattern } = patternOf(step);
      if (pattern === undefined) break;
      const content = text(step, "content", "");
      return pattern === "" ? [] : [() => replaceInText(pattern, content)];
    }
    case "Strip": {
      const { character, start, stop } = stripping(step);
      return [() => stripText(character, start, stop)];
    }
    case "Metaspace": {
      const { mark, dropsFirst } = metaspace(step);
      return [() => replaceInText(mark, dropsFirst ? "" : " ")];
    }
  }
  const create = stageOfPieces(step, true);
  return [
    () =>
      collect((whole) => {
        const stage = create();
        return [...stage.push(whole), ...stage.end()];
      }),
  ];
}

const unchanged = (piece: string): string => piece;

const cleanUpPiece = (piece: string): string =>
  [...CLEAN_UP.slice(0, 7), [" do not", " don't"] as const, ...CLEAN_UP.slice(7)].reduce(
    (result, [from, to]) => result.replaceAll(from, to),
    piece,
  );

function replace(piece: string, pattern: string, content: string): string {
  return pattern === "" ? piece : piece.split(pattern).join(content);
}

/** What a `Replace` does with one piece. Expressions are the library's: JavaScript's are not the same. */
function replacing(step: JsonObject): (piece: string) => string {
  const content = text(step, "content", "");
  const { String: pattern } = patternOf(step);
  if (pattern !== undefined) return (piece) => replace(piece, pattern, content);
  const model = { type: "WordLevel", vocab: {}, unk_token: "" };
  const json = JSON.stringify({ version: "1.0", added_tokens: [], model, decoder: step });
  const decoder = loadLibrary().Tokenizer.fromString(json).getDecoder();
  return (piece) => decoder?.decode([piece]) ?? piece;
}

/** Speech: repeated pieces count once, those that stand for silence not at all. */
function speech(step: JsonObject): (piece: string) => string {
  const silence = text(step, "pad_token", "<pad>");
  const delimiter = text(step, "word_delimiter_token", "|");
  return (piece) => {
    const spoken = replace(piece, silence, "");
    return step.cleanup === false ? spoken : replace(cleanUpPiece(spoken), delimiter, " ");
  };
}

function patternOf(step: JsonObject): { readonly String: string | undefined } {
  const { pattern } = step;
  if (isObject(pattern)) {
    if (typeof pattern.String === "string") return { String: pattern.String };
    if (typeof pattern.Regex === "string") return { String: undefined };
  }
  throw new TypeError(
    `the decoder's pattern is ${JSON.stringify(pattern)}; expected { "String" } or { "Regex" }`,
  );
}

function stripping(step: JsonObject) {
  return {
    character: text(step, "content", ""),
    start: count(step, "start"),
    stop: count(step, "stop"),
  };
}

function metaspace(step: JsonObject): { mark: string; dropsFirst: boolean } {
  return {
    mark: text(step, "replacement", "\u2581"),
    dropsFirst: step.prepend_scheme !== "never" && step.add_prefix_space !== false,
  };
}

function text(step: JsonObject, field: string, missing: string): string {
  const value = step[field] ?? missing;
  if (typeof value === "string") return value;
  throw new TypeError(`the ${String(step.type)} decoder's "${field}" must be a string`);
}

function count(step: JsonObject, field: string): number {
  const value = step[field] ?? 0;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError(`the ${String(step.type)} decoder's "${field}" must be a whole number`);
}
