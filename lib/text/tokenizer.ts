import { readFile } from "node:fs/promises";
import { checkIterable, checkOptions } from "../checks.js";
import { messageOf, NviumError } from "../errors.js";
import { compileDecoder } from "./decoder.js";
import type { AddedToken } from "./encoder.js";
import { tokenizerError } from "./files.js";
import { type HostedEncoder, hostEncoder } from "./host.js";
import { directoryOf, readSettings, type TokenizerSettings } from "./settings.js";
import {
  createTextStream,
  type TextDecodeOptions,
  type TextStream,
  type TextStreamOptions,
} from "./stream.js";
import { pieceLookup } from "./vocabulary.js";

/** Where the tokenizer is and what it must fit: the parts of a checkpoint that matter here. */
export interface TokenizerSource {
  /** Path of `tokenizer.json`, null where there is none. */
  readonly tokenizerFile: string | null;
  /** Path of `tokenizer_config.json`, null where there is none. */
  readonly tokenizerConfigFile: string | null;
  /** Tokens the model knows. */
  readonly vocabSize: number;
  /** The content of tokenizer.json, in place of the file's. */
  readonly content?: object | undefined;
  /** What the files beside it say, where they have been read. */
  readonly settings?: TokenizerSettings;
}

export interface EncodeOptions {
  /** Add what the tokenizer puts around a text, usually the beginning-of-sequence token. Default: true. */
  readonly addSpecialTokens?: boolean;
}

export interface Tokenizer {
  readonly vocabSize: number;
  /** As tokenizer_config.json or special_tokens_map.json name it; null where none is named that tokenizer and model have. */
  readonly bosToken: number | null;
  /** As tokenizer_config.json or special_tokens_map.json name it; null where none is named that tokenizer and model have. */
  readonly eosToken: number | null;
  /** Tokens that mark structure rather than stand for text. */
  readonly specialTokens: ReadonlySet<number>;
  /**
   * Text to tokens, off the JavaScript thread. Special tokens spelled out in the text become those tokens. An unpaired
   * surrogate counts as U+FFFD, as it does in UTF-8. Rejects with ERR_NVIUM_TOKENIZER where the text has a token that the
   * model lacks, or none at all; with ERR_NVIUM_DISPOSED once the model is disposed.
   */
  encode(text: string, options?: EncodeOptions): Promise<number[]>;
  /** Tokens to text. Bytes that are not UTF-8 read as U+FFFD. */
  decode(tokens: Iterable<number>, options?: TextDecodeOptions): string;
  /** Tokens to text as they come. */
  stream(options?: TextStreamOptions): TextStream;
}

/** A tokenizer with what the rest of the library needs of it. */
export interface LoadedTokenizer extends Tokenizer {
  /** The tokens besides those of the model's vocabulary, by text; only those that the model has. */
  readonly added: ReadonlyMap<string, AddedToken>;
  /** Ends the thread that encodes. Decoding goes on working. */
  dispose(): Promise<void>;
}

/** Threads of tokenizers that were dropped without being disposed. */
const abandoned = new FinalizationRegistry<HostedEncoder>((encoder) => encoder.abandon());

/**
 * Reads a Hugging Face tokenizer. `clean_up_tokenization_spaces` is applied for a WordPiece tokenizer only; what surrounds
 * a text is tokenizer.json's post-processor alone, and its truncation and padding are left out. Rejects with
 * ERR_NVIUM_TOKENIZER if there is none, it is damaged or of an unknown kind; with ERR_NVIUM_BINDING if the library that
 * encodes cannot be loaded; or with the signal's reason.
 */
export async function loadTokenizer(
  source: TokenizerSource,
  signal?: AbortSignal,
): Promise<LoadedTokenizer> {
  const { tokenizerConfigFile, vocabSize, content } = source;
  const file = content === undefined ? source.tokenizerFile : "the tokenizer given";
  if (file === null) {
    throw new NviumError(
      "ERR_NVIUM_TOKENIZER",
      "The checkpoint has no tokenizer.json, which text needs; tokens can be used without one",
      { file: null },
    );
  }
  const [json, settings] = await Promise.all([
    content === undefined ? readBytes(file) : Buffer.from(JSON.stringify(content)),
    source.settings ?? readSettings(directoryOf(file), tokenizerConfigFile),
  ]);
  const encoder = await hostEncoder({ file, json, named: settings.named }, signal);
  const { info } = encoder;
  let decoder: ReturnType<typeof compileDecoder>;
  try {
    decoder = compileDecoder(info.decoder, settings.cleanUp && info.model === "WordPiece");
  } catch (cause) {
    await encoder.dispose();
    throw tokenizerError(file, messageOf(cause), {}, cause);
  }

  const added = new Map(
    info.added.filter(({ id }) => id < vocabSize).map((token) => [token.content, token] as const),
  );
  const named = new Set(settings.named.filter((n) => n.special).map(({ content }) => content));
  const special = new Set(
    [...added.values()].filter((t) => t.special || named.has(t.content)).map(({ id }) => id),
  );
  const piece = pieceLookup(info.pieces);
  const vocabulary = { size: vocabSize, piece, special, decoder };
  const idOf = (name: string) => added.get(settings.names[name] ?? "")?.id ?? null;

  const tokenizer: LoadedTokenizer = {
    vocabSize,
    bosToken: idOf("bos_token"),
    eosToken: idOf("eos_token"),
    specialTokens: special,
    added,
    async encode(text, options = {}) {
      const { addSpecialTokens = true } = checkOptions(options, { addSpecialTokens: true });
      if (typeof text !== "string") {
        throw new NviumError(
          "ERR_NVIUM_INVALID_ARG",
          `The text must be a string, not ${typeof text}`,
          { argument: "text", expected: "string", actual: typeof text },
        );
      }
      const wellFormed = text.replace(/\p{Surrogate}/gu, "\uFFFD");
      const tokens = await encoder.encode(wellFormed, addSpecialTokens);
      for (const token of tokens) {
        if (token < vocabSize) continue;
        const what = `${JSON.stringify(piece(token))} is token ${token}, and the model has ${vocabSize}`;
        throw tokenizerError(file, what, { token, vocabSize });
      }
      return Array.from(tokens);
    },
    decode(tokens, options = {}) {
      const { skipSpecialTokens = false } = checkOptions(options, { skipSpecialTokens: true });
      const stream = createTextStream(vocabulary, { skipSpecialTokens });
      const texts = Array.from(checkIterable("tokens", tokens), stream.push);
      return texts.join("") + stream.end();
    },
    stream: (options) => createTextStream(vocabulary, options),
    dispose: () => encoder.dispose(),
  };
  abandoned.register(tokenizer, encoder);
  return tokenizer;
}

async function readBytes(file: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw tokenizerError(file, messageOf(cause), {}, cause);
  }
}
