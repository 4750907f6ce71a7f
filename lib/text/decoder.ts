/**
 * From the pieces of a vocabulary to text, a piece at a time.
 *
 * tokenizer.json describes decoding as a chain of steps over the list of all pieces. Here each step is a `Stage` that
 * takes one part and gives back what can no longer change, keeping the rest (half a character, a space that a later
 * step may remove) until it can. The concatenation is therefore the text of the whole list by construction, and a
 * piece costs the same however long the text is.
 */

import type { LibraryDecoder } from "./library.js";
import { openTail } from "./tail.js";

/** A step of decoding with its state. `end` gives what was kept; the stage is spent after it. */
interface Stage {
  push(part: string): string[];
  end(): string[];
}

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
 * Prepares a decoder; each call of the result starts a new sequence.
 *
 * @param decoder as built from tokenizer.json; null joins the pieces with spaces
 * @param added contents of the added tokens, which are text already
 * @param cleanUp whether `clean_up_tokenization_spaces` is on
 */
export function compileDecoder(
  decoder: LibraryDecoder | null,
  added: ReadonlySet<string>,
  cleanUp: boolean,
): () => PieceDecoder {
  const stages: (() => Stage)[] = [];
  if (decoder === null) {
    stages.push(() => firstAndRest(unchanged, (piece) => ` ${piece}`));
  } else {
    // Once the pieces are fused, a part is any stretch of one long piece and its borders mean nothing.
    let fused = false;
    const steps = flatten(decoder);
    steps.forEach((step, i) => {
      const next = steps[i + 1];
      const nextFuses = next === undefined || next.config.type === "Fuse";
      stages.push(...(fused ? stagesOfText(step) : [stageOfPieces(step, added, nextFuses)]));
      fused ||= step.config.type === "Fuse" || step.config.type === "ByteLevel";
    });
  }
  if (cleanUp) for (const [from, to] of CLEAN_UP) stages.push(() => replaceInText(from, to));
  return () => chain(stages.map((create) => create()));
}

function flatten(decoder: LibraryDecoder): LibraryDecoder[] {
  return decoder.decoders === undefined ? [decoder] : decoder.decoders.flatMap(flatten);
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
function stageOfPieces(
  step: LibraryDecoder,
  added: ReadonlySet<string>,
  nextFuses: boolean,
): () => Stage {
  const { config } = step;
  switch (config.type) {
    case "ByteLevel":
      return () => byteLevel(added);
    case "ByteFallback":
      // A run of byte pieces is one piece to what follows, unless that does not look at borders.
      return nextFuses ? byteFallback : () => collect(step);
    case "Fuse":
      return () => map(unchanged);
    case "Replace":
    case "Strip":
      return () => map((piece) => step.decode_chain([piece]).join(""));
    case "Metaspace": {
      const { mark, dropsFirst } = metaspace(config);
      const spaced = (piece: string) => piece.replaceAll(mark, " ");
      const first = (piece: string) => spaced(piece).replace(/^ /, "");
      return () => firstAndRest(dropsFirst ? first : spaced, spaced);
    }
    case "WordPiece": {
      const prefix = text(config, "prefix", "##");
      const clean = config.cleanup === true ? cleanUpPiece : unchanged;
      return () =>
        firstAndRest(clean, (piece) =>
          clean(piece.startsWith(prefix) ? piece.slice(prefix.length) : ` ${piece}`),
        );
    }
    case "BPEDecoder": {
      const suffix = text(config, "suffix", "</w>");
      return () => lastAndRest(suffix);
    }
    default:
      return () => collect(step);
  }
}

/** A step that comes after the pieces were fused. */
function stagesOfText(step: LibraryDecoder): (() => Stage)[] {
  const { config } = step;
  switch (config.type) {
    case "Fuse":
      return [];
    case "Replace": {
      const { String: pattern } = config.pattern as { String?: unknown };
      if (typeof pattern !== "string" || pattern === "") break;
      const content = text(config, "content", "");
      return [() => replaceInText(pattern, content)];
    }
    case "Strip": {
      const character = text(config, "content", "");
      const [start, stop] = [count(config, "start"), count(config, "stop")];
      return [() => stripText(character, start, stop)];
    }
    case "Metaspace": {
      const { mark, dropsFirst } = metaspace(config);
      const spaced = () => replaceInText(mark, " ");
      return dropsFirst ? [spaced, () => stripText(" ", 1, 0)] : [spaced];
    }
  }
  return [() => collect({ ...step, decode_chain: (parts) => step.decode_chain([parts.join("")]) })];
}

const unchanged = (piece: string): string => piece;

const cleanUpPiece = (piece: string): string =>
  CLEAN_UP.reduce((result, [from, to]) => result.replaceAll(from, to), piece);

function map(change: (piece: string) => string): Stage {
  return { push: (piece) => [change(piece)], end: () => [] };
}

function firstAndRest(first: (piece: string) => string, rest: (piece: string) => string): Stage {
  let change = first;
  return {
    push(piece) {
      const result = change(piece);
      change = rest;
      return [result];
    },
    end: () => [],
  };
}

/** An end-of-word suffix is a space, but nothing in the last piece, so one piece is kept. */
function lastAndRest(suffix: string): Stage {
  let last: string | undefined;
  return {
    push(piece) {
      const result = last === undefined ? [] : [last.replaceAll(suffix, " ")];
      last = piece;
      return result;
    },
    end: () => (last === undefined ? [] : [last.replaceAll(suffix, "")]),
  };
}

/** For steps that can only be taken on the whole: everything comes out at the end. */
function collect(step: LibraryDecoder): Stage {
  const parts: string[] = [];
  return {
    push(part) {
      parts.push(part);
      return [];
    },
    end: () => step.decode_chain(parts),
  };
}

/** Byte order marks are characters like others here, wherever they stand. */
const utf8 = () => new TextDecoder("utf-8", { ignoreBOM: true });

function byteLevel(added: ReadonlySet<string>): Stage {
  const decoder = utf8();
  const encoder = new TextEncoder();
  return {
    push(piece) {
      const bytes = (added.has(piece) ? undefined : byteLevelBytes(piece)) ?? encoder.encode(piece);
      return [decoder.decode(bytes, { stream: true })];
    },
    end: () => [decoder.decode()],
  };
}

/** `<0xE2>` and its like are bytes; other pieces are text and end a run of bytes. */
function byteFallback(): Stage {
  const decoder = utf8();
  return {
    push(piece) {
      if (!/^<0x[0-9A-Fa-f]{2}>$/.test(piece)) return [decoder.decode(), piece];
      const byte = Number.parseInt(piece.slice(3, 5), 16);
      return [decoder.decode(Uint8Array.of(byte), { stream: true })];
    },
    end: () => [decoder.decode()],
  };
}

function replaceInText(pattern: string, replacement: string): Stage {
  let kept = "";
  return {
    push(part) {
      const pieces = (kept + part).split(pattern);
      const last = pieces.pop() ?? "";
      const open = last.length - openTail(last, pattern);
      kept = last.slice(open);
      return [[...pieces, last.slice(0, open)].join(replacement)];
    },
    end: () => [kept],
  };
}

/** Removes up to `start` of `character` at the beginning of the text and up to `stop` at its end. */
function stripText(character: string, start: number, stop: number): Stage {
  let leading = start;
  let kept = "";
  return {
    push(part) {
      let from = 0;
      while (leading > 0 && from < part.length) {
        if (part[from] === character) {
          from++;
          leading--;
        } else {
          leading = 0;
        }
      }
      const rest = kept + part.slice(from);
      let to = rest.length;
      while (rest.length - to < stop && to > 0 && rest[to - 1] === character) to--;
      kept = rest.slice(to);
      return [rest.slice(0, to)];
    },
    end: () => [],
  };
}

/**
 * The byte-level alphabet writes a byte that prints as the Latin-1 character it is, and numbers the others upward
 * from U+0100.
 */
const BYTE_OF: ReadonlyMap<string, number> = (() => {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const prints = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
  return new Map([
    ...bytes.filter(prints).map((byte) => [String.fromCharCode(byte), byte] as const),
    ...bytes
      .filter((byte) => !prints(byte))
      .map((byte, i) => [String.fromCharCode(0x100 + i), byte] as const),
  ]);
})();

/** The bytes a piece stands for, or undefined if it has characters outside the byte-level alphabet. */
function byteLevelBytes(piece: string): Uint8Array | undefined {
  const bytes = new Uint8Array(piece.length);
  for (let i = 0; i < piece.length; i++) {
    const byte = BYTE_OF.get(piece.charAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}

type Config = LibraryDecoder["config"];

function metaspace(config: Config): { mark: string; dropsFirst: boolean } {
  return {
    mark: text(config, "replacement", "\u2581"),
    dropsFirst: config.prepend_scheme !== "never",
  };
}

function text(config: Config, field: string, missing: string): string {
  const value = config[field] ?? missing;
  if (typeof value === "string") return value;
  throw new TypeError(`the ${config.type} decoder's "${field}" must be a string`);
}

function count(config: Config, field: string): number {
  const value = config[field] ?? 0;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new TypeError(`the ${config.type} decoder's "${field}" must be a whole number`);
}
