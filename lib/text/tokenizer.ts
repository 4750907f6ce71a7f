import { NviumError } from "../errors.js";
import { checkIterable, checkOptions } from "../sampling.js";
import { compileDecoder } from "./decoder.js";
import { contentOf, isObject, messageOf, readObject, tokenizerError } from "./files.js";
import { type LibraryTokenizer, loadLibrary } from "./library.js";
import {
  createTextStream,
  type DecodeOptions,
  type TextStream,
  type TextStreamOptions,
} from "./stream.js";
import { readVocabulary } from "./vocabulary.js";

/** Where the tokenizer is and what it must fit: the parts of a checkpoint that matter here. */
export interface TokenizerSource {
  /** Path of `tokenizer.json`, null where there is none. */
  readonly tokenizerFile: string | null;
  /** Path of `tokenizer_config.json`, null where there is none. */
  readonly tokenizerConfigFile: string | null;
  /** Tokens the model knows. */
  readonly vocabSize: number;
}

export interface EncodeOptions {
  /** Add what the tokenizer puts around a text, usually the beginning-of-sequence token. Default: true. */
  readonly addSpecialTokens?: boolean;
}

export interface Tokenizer {
  readonly vocabSize: number;
  /** As tokenizer_config.json names it; null where it names none that the tokenizer has. */
  readonly bosToken: number | null;
  /** As tokenizer_config.json names it; null where it names none that the tokenizer has. */
  readonly eosToken: number | null;
  /** Tokens that mark structure rather than stand for text. */
  readonly specialTokens: ReadonlySet<number>;
  /**
   * Text to tokens. Special tokens spelled out in the text become those tokens. An unpaired surrogate counts as
   * U+FFFD, as it does in UTF-8.
   */
  encode(text: string, options?: EncodeOptions): Promise<number[]>;
  /** Tokens to text. Bytes that are not UTF-8 read as U+FFFD. */
  decode(tokens: Iterable<number>, options?: DecodeOptions): string;
  /** Tokens to text as they come. */
  stream(options?: TextStreamOptions): TextStream;
}

/** Fields of tokenizer_config.json that name special tokens. */
const SPECIAL_NAMES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
] as const;

/**
 * Reads a Hugging Face tokenizer and checks that it fits the model.
 *
 * `clean_up_tokenization_spaces` is applied where tokenizer_config.json turns it on; what surrounds a text is
 * tokenizer.json's post-processor alone. Rejects with ERR_NVIUM_TOKENIZER if there is none, it is damaged, of an
 * unknown kind, or has tokens the model lacks.
 */
export async function loadTokenizer(source: TokenizerSource): Promise<Tokenizer> {
  const { tokenizerFile: file, tokenizerConfigFile, vocabSize } = source;
  if (file === null) {
    throw new NviumError(
      "ERR_NVIUM_TOKENIZER",
      "The checkpoint has no tokenizer.json, which text needs; tokens can be used without one",
      { file: null },
    );
  }
  const [json, config, { Tokenizer: LibraryTokenizer }] = await Promise.all([
    readObject(file),
    readObject(tokenizerConfigFile),
    loadLibrary(),
  ]);

  const { model, added, pieces, ids } = readVocabulary(json, file, vocabSize);
  let library: LibraryTokenizer;
  let decoder: ReturnType<typeof compileDecoder>;
  try {
    for (const part of ["normalizer", "pre_tokenizer", "decoder"]) checkPatterns(json[part]);
    library = new LibraryTokenizer(
      {
        normalizer: null,
        pre_tokenizer: null,
        post_processor: null,
        decoder: null,
        ...json,
        model,
        added_tokens: added,
      },
      config,
    );
    decoder = compileDecoder(
      library.decoder,
      new Set(added.map((token) => token.content)),
      config.clean_up_tokenization_spaces === true,
    );
  } catch (cause) {
    throw tokenizerError(file, messageOf(cause), {}, cause);
  }

  const idOf = (name: unknown) => ids.get(contentOf(name) ?? "") ?? null;
  const additional = config.additional_special_tokens;
  const named = [
    ...SPECIAL_NAMES.map((name) => config[name]),
    ...(Array.isArray(additional) ? additional : []),
  ];
  const special = new Set([
    ...added.filter((token) => token.special === true).map((token) => token.id),
    ...named.map(idOf).filter((id) => id !== null),
  ]);
  const vocabulary = { size: vocabSize, pieces, special, decoder };

  return {
    vocabSize,
    bosToken: idOf(config.bos_token),
    eosToken: idOf(config.eos_token),
    specialTokens: special,
    async encode(text, options = {}) {
      const { addSpecialTokens = true } = checkOptions(options);
      return encode(library, file, text, addSpecialTokens);
    },
    decode(tokens, options = {}) {
      const { skipSpecialTokens = false } = checkOptions(options);
      const stream = createTextStream(vocabulary, { skipSpecialTokens });
      const texts = Array.from(checkIterable("tokens", tokens), stream.push);
      return texts.join("") + stream.end();
    },
    stream: (options) => createTextStream(vocabulary, options),
  };
}

function encode(
  library: LibraryTokenizer,
  file: string,
  text: string,
  addSpecialTokens: boolean,
): number[] {
  if (typeof text !== "string") {
    throw new NviumError("ERR_NVIUM_INVALID_ARG", `The text must be a string, not ${typeof text}`, {
      argument: "text",
      expected: "string",
      actual: typeof text,
    });
  }
  let result: ReturnType<LibraryTokenizer["encode"]>;
  try {
    const wellFormed = text.replace(/\p{Surrogate}/gu, "\uFFFD");
    result = library.encode(wellFormed, { add_special_tokens: addSpecialTokens });
  } catch (cause) {
    throw tokenizerError(
      file,
      `encoding ${text.length} characters: ${messageOf(cause)}`,
      {},
      cause,
    );
  }
  return result.ids.map((id, i) => {
    if (id !== undefined) return id;
    const piece = result.tokens[i];
    throw tokenizerError(
      file,
      `no token for ${JSON.stringify(piece)}, and none for what is unknown`,
      { piece },
    );
  });
}

/** A pattern the library does not know would be reported on the console and then ignored. */
function checkPatterns(part: unknown): void {
  if (Array.isArray(part)) for (const member of part) checkPatterns(member);
  if (!isObject(part)) return;
  for (const [key, value] of Object.entries(part)) {
    if (key !== "pattern") checkPatterns(value);
    else if (
      !isObject(value) ||
      (typeof value.String !== "string" && typeof value.Regex !== "string")
    ) {
      throw new TypeError(
        `a pattern is ${JSON.stringify(value)}; expected { "String" } or { "Regex" }`,
      );
    }
  }
}
