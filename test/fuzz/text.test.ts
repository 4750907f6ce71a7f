/** Any text through the demo's tokenizer, any tokens through its decoder: one token at a time gives what all at once give. */
import { expect, it } from "vitest";
import { loadTokenizer } from "../../lib/text/tokenizer.js";
import { hardText } from "../support/texts.js";
import { demo } from "../text/helpers.js";
import { fuzz, TIMEOUT } from "./settings.js";

it("text comes back from its tokens, whole and a token at a time", {
  timeout: TIMEOUT,
}, async () => {
  const tokenizer = await loadTokenizer(demo);
  await fuzz(1500, async (choose) => {
    const given = hardText(choose);
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
