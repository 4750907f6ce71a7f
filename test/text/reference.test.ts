/**
 * Encoding as the Rust library does it for Python, which made the tokens of every model: 2,500 hard texts for six pipelines. The
 * tokenizers are small ones of this project's own, built as those of Llama 2, Llama 3.1, Qwen 3, and as a Unigram with byte
 * fallback, BERT's WordPiece and a WordLevel are; the tokens' checksums were made with tokenizers 0.23.3.
 */
import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { expect, test } from "vitest";
import { loadTokenizer } from "../../lib/text/tokenizer.js";
import { random } from "../support/random.js";
import { hardText } from "../support/texts.js";

const expected = JSON.parse(readFileSync("test/text/data/tokens.json", "utf8")) as Record<
  string,
  string
>;

test.each(Object.entries(expected))("%s", async (name, checksums) => {
  const tokenizerFile = `test/text/data/${name}.json`;
  const tokenizer = await loadTokenizer({
    tokenizerFile,
    tokenizerConfigFile: null,
    vocabSize: 1000,
  });
  const bytes = Buffer.from(checksums, "base64");
  const differing: string[] = [];
  for (let i = 0; i < bytes.length / 4; i++) {
    const text = hardText(random(i));
    const tokens = await tokenizer.encode(text);
    const stream = tokenizer.stream();
    const streamed = tokens.map((token) => stream.push(token)).join("") + stream.end();
    expect(streamed).toBe(tokenizer.decode(tokens));
    if (crc32(Buffer.from(Uint32Array.from(tokens).buffer)) !== bytes.readUInt32LE(4 * i)) {
      differing.push(text);
    }
  }
  expect(bytes.length).toBe(10_000);
  expect(differing).toEqual([]);
});
