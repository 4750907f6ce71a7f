import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect } from "vitest";
import { NviumError } from "../../lib/errors.js";
import {
  type LoadedTokenizer,
  loadTokenizer,
  type TokenizerSource,
} from "../../lib/text/tokenizer.js";

export const demo: TokenizerSource = {
  tokenizerFile: "models/demo/tokenizer.json",
  tokenizerConfigFile: "models/demo/tokenizer_config.json",
  vocabSize: 4096,
};

const directories: string[] = [];
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true });
});

/** Writes files (objects as JSON) into a directory that goes when the tests end. */
export function writeFiles(files: Record<string, unknown>): string {
  const directory = mkdtempSync(join(tmpdir(), "nvium-text-"));
  directories.push(directory);
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(
      join(directory, name),
      typeof content === "string" ? content : JSON.stringify(content),
    );
  }
  return directory;
}

const WORD_PIECE = {
  unk_token: "[UNK]",
  continuing_subword_prefix: "##",
  max_input_chars_per_word: 100,
};

/** A tokenizer.json whose tokens are `pieces` in order, as far as decoding is concerned. */
export function tokenizerJson(
  pieces: readonly string[],
  decoder: unknown,
  added: readonly { content: string; special: boolean }[] = [],
  model: "BPE" | "WordPiece" = "BPE",
): Record<string, unknown> {
  return {
    added_tokens: added.map((token) => ({
      ...token,
      id: pieces.indexOf(token.content),
      ...{ single_word: false, lstrip: false, rstrip: false, normalized: false },
    })),
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder,
    model: {
      type: model,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      ...(model === "BPE" ? { merges: [] } : WORD_PIECE),
    },
  };
}

export function loadJson(
  json: unknown,
  config: unknown = {},
  vocabSize = 4096,
): Promise<LoadedTokenizer> {
  const directory = writeFiles({ "tokenizer.json": json, "tokenizer_config.json": config });
  return loadTokenizer({
    tokenizerFile: join(directory, "tokenizer.json"),
    tokenizerConfigFile: join(directory, "tokenizer_config.json"),
    vocabSize,
  });
}

/** Whole numbers below `n`, the same for the same seed. */
export function randomNumbers(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

export function expectError(action: () => unknown, code: string): NviumError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(NviumError);
    expect((error as NviumError).code).toBe(code);
    return error as NviumError;
  }
  throw new Error("nothing was thrown");
}

export async function expectRejection(
  promise: Promise<unknown>,
  code: string,
): Promise<NviumError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(NviumError);
  expect((error as NviumError).code).toBe(code);
  return error as NviumError;
}
