/** From tokenizer.json to something that encodes, on whichever thread this runs. */

import { messageOf } from "../errors.js";
import { isObject, type JsonObject, parseObject, tokenizerError } from "./files.js";
import { loadLibrary, type RustTokenizer } from "./library.js";
import { type PackedPieces, packPieces } from "./vocabulary.js";

/** A token besides those of the model's vocabulary. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Marks structure rather than stands for text. */
  readonly special: boolean;
}

/** A token that another file than tokenizer.json names. */
export interface NamedToken {
  readonly content: string;
  readonly special: boolean;
  readonly singleWord: boolean;
  readonly leftStrip: boolean;
  readonly rightStrip: boolean;
  readonly normalized: boolean;
  /** Only where the tokenizer has its text as a token already. */
  readonly onlyKnown: boolean;
}

export interface EncoderSource {
  /** Where `json` is from, for messages. */
  readonly file: string;
  /** The bytes of tokenizer.json. */
  readonly json: Uint8Array<ArrayBuffer>;
  /** What it may lack, in the order of ids. */
  readonly named: readonly NamedToken[];
}

/** What is known of an opened tokenizer; it can be sent to another thread. */
export interface EncoderInfo {
  /** By id: those of the model's vocabulary, and the added ones. */
  readonly pieces: PackedPieces;
  readonly added: readonly AddedToken[];
  /** Kind of the model: "BPE", "Unigram", "WordPiece" or "WordLevel". */
  readonly model: string;
  /** The decoder's section of tokenizer.json, unchecked; null where there is none. */
  readonly decoder: unknown;
}

export interface Encoder {
  readonly info: EncoderInfo;
  /** Rejects with ERR_NVIUM_TOKENIZER where text has no token and nothing stands for the unknown. */
  encode(text: string, addSpecialTokens: boolean): Promise<Uint32Array<ArrayBuffer>>;
}

/** Takes as long as the vocabulary is large: half a second for 128,000 pieces. Throws ERR_NVIUM_TOKENIZER, ERR_NVIUM_BINDING. */
export function openEncoder({ file, json: bytes, named }: EncoderSource): Encoder {
  const library = loadLibrary();
  const text = new TextDecoder().decode(bytes);
  const json = parseObject(text, file, JSON.parse);
  const { type, pieces } = readModel(json, file);
  let tokenizer: RustTokenizer;
  try {
    tokenizer = library.Tokenizer.fromString(text);
  } catch (cause) {
    throw tokenizerError(file, unknownPart(json) ?? messageOf(cause), {}, cause);
  }
  // They belong to training. A prompt is neither cut nor filled up.
  tokenizer.disableTruncation();
  tokenizer.disablePadding();

  const own = Array.isArray(json.added_tokens) ? (json.added_tokens as JsonObject[]) : [];
  const known = new Map(own.map((token) => [String(token.content), token.special === true]));
  const missing = named.filter(({ content, onlyKnown }) => {
    if (content === "" || known.has(content)) return false;
    return !onlyKnown || tokenizer.tokenToId(content) !== null;
  });
  tokenizer.addAddedTokens(
    missing.map(
      ({ content, special, ...flags }) => new library.AddedToken(content, special, flags),
    ),
  );
  for (const { content, special } of missing) known.set(content, special);
  const added: AddedToken[] = [];
  for (const [content, special] of known) {
    // The library's ids count; those in the file are its notes.
    const id = tokenizer.tokenToId(content);
    if (id === null) continue;
    pieces[id] = content;
    added.push({ id, content, special });
  }

  return {
    info: { pieces: packPieces(pieces), added, model: type, decoder: json.decoder ?? null },
    async encode(text, addSpecialTokens) {
      try {
        const encoding = await tokenizer.encode(text, null, { addSpecialTokens });
        return Uint32Array.from(encoding.getIds());
      } catch (cause) {
        const what = `encoding ${text.length} characters: ${messageOf(cause)}`;
        throw tokenizerError(file, what, {}, cause);
      }
    },
  };
}

const MODEL_TYPES = ["BPE", "Unigram", "WordPiece", "WordLevel"];

/** The model's type and its pieces by id. */
function readModel({ model }: JsonObject, file: string) {
  const fault = (field: string, problem: string) =>
    tokenizerError(file, `"${field}" ${problem}`, { field });
  if (!isObject(model)) throw fault("model", "must be an object");
  const type = model.type ?? typeOfOld(model);
  if (typeof type !== "string" || !MODEL_TYPES.includes(type)) {
    const actual = type === undefined ? "missing" : JSON.stringify(type);
    throw fault("model.type", `is ${actual}; expected ${MODEL_TYPES.join(", ")}`);
  }
  const { vocab, dropout } = model;
  if (typeof dropout === "number" && dropout > 0 && dropout < 1) {
    throw fault("model.dropout", `is ${dropout}, with which encoding is random`);
  }
  const entries: (readonly [unknown, unknown])[] = Array.isArray(vocab)
    ? vocab.map((entry, id) => [entry?.[0], id])
    : Object.entries(isObject(vocab) ? vocab : {});
  const pieces: (string | undefined)[] = [];
  for (const [piece, id] of entries) {
    // What is wrong here the library refuses.
    if (typeof piece === "string" && typeof id === "number" && id >= 0 && id < 2 ** 31) {
      pieces[id] = piece;
    }
  }
  return { type, pieces };
}

/** Old files leave the type out. */
function typeOfOld({ merges, vocab }: JsonObject): string | undefined {
  if (Array.isArray(merges)) return "BPE";
  return Array.isArray(vocab) ? "Unigram" : undefined;
}

const KNOWN_TYPES: Readonly<Record<string, readonly string[]>> = {
  normalizer: [
    ...[
      "BertNormalizer",
      "ByteLevel",
      "Lowercase",
      "NFC",
      "NFD",
      "NFKC",
      "NFKD",
      "Nmt",
      "Precompiled",
    ],
    ...["Prepend", "Replace", "Sequence", "Strip", "StripAccents"],
  ],
  pre_tokenizer: [
    ...[
      "BertPreTokenizer",
      "ByteLevel",
      "CharDelimiterSplit",
      "Digits",
      "FixedLength",
      "Metaspace",
    ],
    ...["Punctuation", "Sequence", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit"],
  ],
  post_processor: [
    ...["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"],
  ],
  decoder: [
    ...[
      "BPEDecoder",
      "ByteFallback",
      "ByteLevel",
      "CTC",
      "Fuse",
      "Metaspace",
      "Replace",
      "Sequence",
    ],
    ...["Strip", "WordPiece"],
  ],
};

/** Names what the library, when it refuses a file, often does not. */
function unknownPart(json: JsonObject): string | undefined {
  for (const [part, known] of Object.entries(KNOWN_TYPES)) {
    const steps: unknown[] = [json[part]];
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      if (!isObject(step)) continue;
      const { type } = step;
      if (typeof type === "string" && !known.includes(type)) {
        return `"${part}" has the type ${JSON.stringify(type)}, which is unknown`;
      }
      for (const list of [step.normalizers, step.pretokenizers, step.processors, step.decoders]) {
        if (Array.isArray(list)) steps.push(...list);
      }
    }
  }
  return undefined;
}
