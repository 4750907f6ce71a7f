/** Any text through the demo's tokenizer, any tokens through its decoder: one token at a time gives what all at once give. */
import { expect, it } from "vitest";
import { loadTokenizer } from "../../lib/text/tokenizer.js";
import type { Random } from "../support/random.js";
import { demo } from "../text/helpers.js";
import { fuzz, TIMEOUT } from "./settings.js";

/** Letters, spaces, signs, other scripts, marks that combine, emoji of several characters, halves of pairs. */
const ALPHABETS: readonly (readonly [from: number, to: number])[] = [
  [0x20, 0x7f],
  [0x20, 0x7f],
  [0x00, 0x20],
  [0x80, 0x250],
  [0x300, 0x370],
  [0x400, 0x530],
  [0x590, 0x700],
  [0x2000, 0x2070],
  [0x3040, 0x3100],
  [0x4e00, 0x9fff],
  [0xd800, 0xe000],
  [0xfe00, 0x10000],
  [0x1f300, 0x1f700],
  [0xe0000, 0xe0080],
];
const WORDS = [
  "<|endoftext|>",
  "</s>",
  "<unk>",
  "▁",
  "Ġ",
  "<0x41>",
  "\r\n",
  "  ",
  "\u200d",
  "\ufffd",
];

function text({ below, pick, once }: Random): string {
  let result = "";
  for (let i = below(40); i > 0; i--) {
    if (once(10)) {
      result += pick(WORDS);
      continue;
    }
    const [from, to] = pick(ALPHABETS);
    for (let n = 1 + below(4); n > 0; n--) result += String.fromCodePoint(from + below(to - from));
  }
  return result;
}

it("text comes back from its tokens, whole and a token at a time", {
  timeout: TIMEOUT,
}, async () => {
  const tokenizer = await loadTokenizer(demo);
  await fuzz(1500, async (choose) => {
    const given = text(choose);
    const tokens = await tokenizer.encode(given);
    for (const token of tokens) expect(token).toBeLessThan(tokenizer.vocabSize);
    const stream = tokenizer.stream();
    expect(tokens.map((token) => stream.push(token)).join("") + stream.end()).toBe(
      tokenizer.decode(tokens),
    );
    // Its own reading of a text is a text it reads the same way again.
    const reread = async (text: string) =>
      tokenizer.decode(await tokenizer.encode(text, { addSpecialTokens: false }));
    const again = await reread(given);
    expect(await reread(again)).toBe(again);
  });
});

it("any tokens read the same whole and a token at a time", { timeout: TIMEOUT }, async () => {
  const tokenizer = await loadTokenizer(demo);
  await fuzz(1500, ({ below, once }) => {
    const skipSpecialTokens = once(2);
    const tokens = Array.from({ length: below(30) }, () =>
      // The first few are special or single bytes.
      below(once(3) ? 300 : tokenizer.vocabSize),
    );
    const stream = tokenizer.stream({ skipSpecialTokens });
    const parts = tokens.map((token) => stream.push(token));
    expect(parts.join("") + stream.end()).toBe(tokenizer.decode(tokens, { skipSpecialTokens }));
    for (const part of parts) expect(Buffer.from(part).toString()).toBe(part);
  });
});
