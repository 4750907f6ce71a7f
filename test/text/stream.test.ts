import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadTokenizer, type Tokenizer } from "../../lib/text/tokenizer.js";
import {
  demo,
  expectError,
  expectRejection,
  loadJson,
  randomNumbers,
  tokenizerJson,
} from "./helpers.js";

/** The library's own decoding of a whole list, which is what streams are compared with. */
interface Reference {
  decode(
    tokens: number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
}

async function referenceOf(json: object): Promise<Reference> {
  const library = (await import("@huggingface/tokenizers")) as {
    Tokenizer: new (json: object, config: object) => Reference;
  };
  return new library.Tokenizer(json, {});
}

const printable = Array.from({ length: 256 }, (_, byte) => byte).filter(
  (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173),
);
const byteAlphabet = Array.from({ length: 256 }, (_, byte) => {
  const others = Array.from({ length: byte }, (_, b) => b).filter((b) => !printable.includes(b));
  return String.fromCharCode(printable.includes(byte) ? byte : 256 + others.length);
});
const byteTokens = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
);
/** Bytes that make characters of two to four bytes, and bytes that break them. */
const hardBytes = [
  0x20, 0x41, 0xc3, 0xa9, 0xe6, 0x97, 0xa5, 0xf0, 0x9f, 0x8e, 0x89, 0x80, 0xff, 0xc0, 0xed, 0xa0,
];

const replaceMark = { type: "Replace", pattern: { String: "▁" }, content: " " };
const llama = {
  type: "Sequence",
  decoders: [
    replaceMark,
    { type: "ByteFallback" },
    { type: "Fuse" },
    { type: "Strip", content: " ", start: 1, stop: 0 },
  ],
};
const sentencePieces = ["▁", "▁▁", "▁the", "a", "▁a", "é", "日本", ".", "'", "s", "ab", "b", "🎉"];
const words = ["the", "##s", "##ing", ".", ",", "'", "s", "n't", "un", "!", "do", "'m"];

/** Each of the clean-up's replacements may hold all but the last character of what it looks for. */
const CLEAN_UP_HELD = 18;

interface Kind {
  readonly name: string;
  readonly pieces: readonly string[];
  readonly decoder: unknown;
  readonly added?: readonly { content: string; special: boolean }[];
  readonly cleanUp?: boolean;
  /** Characters that may be held back, at most; Infinity where the decoder needs the whole. */
  readonly held: number;
}

const kinds: Kind[] = [
  {
    name: "byte-level",
    pieces: [...hardBytes.map((byte) => byteAlphabet[byte] ?? ""), "<s>", "日 本"],
    decoder: { type: "ByteLevel" },
    added: [
      { content: "<s>", special: true },
      { content: "日 本", special: false },
    ],
    held: 1,
  },
  {
    name: "byte fallback, fused and stripped",
    pieces: [...hardBytes.map((byte) => byteTokens[byte] ?? ""), ...sentencePieces],
    decoder: llama,
    held: 1,
  },
  {
    name: "byte fallback, fused",
    pieces: [...hardBytes.map((byte) => byteTokens[byte] ?? ""), ...sentencePieces],
    decoder: {
      type: "Sequence",
      decoders: [replaceMark, { type: "ByteFallback" }, { type: "Fuse" }],
    },
    held: 1,
  },
  {
    name: "byte fallback before a step that looks at pieces",
    pieces: [...hardBytes.map((byte) => byteTokens[byte] ?? ""), ...sentencePieces],
    decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, { type: "Metaspace" }] },
    held: Number.POSITIVE_INFINITY,
  },
  { name: "metaspace", pieces: sentencePieces, decoder: { type: "Metaspace" }, held: 0 },
  {
    name: "metaspace with clean-up",
    pieces: sentencePieces,
    decoder: { type: "Metaspace" },
    cleanUp: true,
    held: CLEAN_UP_HELD,
  },
  {
    name: "word pieces",
    pieces: words,
    decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    held: 0,
  },
  {
    name: "word pieces with clean-up of their own",
    pieces: words,
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    held: 0,
  },
  {
    name: "word pieces with both clean-ups",
    pieces: words,
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    cleanUp: true,
    held: CLEAN_UP_HELD,
  },
  {
    name: "end-of-word suffixes",
    pieces: ["lo", "w</w>", "er</w>", "</w>", "a"],
    decoder: { type: "BPEDecoder", suffix: "</w>" },
    held: 6,
  },
  { name: "no decoder", pieces: words, decoder: null, cleanUp: true, held: CLEAN_UP_HELD },
  {
    name: "replacement and stripping of fused text",
    pieces: ["a", "b", "aab", "▁", "▁▁", "ba", "aa"],
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Fuse" },
        { type: "Replace", pattern: { String: "aab" }, content: "▁" },
        { type: "Metaspace" },
        { type: "Strip", content: " ", start: 2, stop: 2 },
        { type: "Fuse" },
      ],
    },
    held: 4,
  },
  {
    name: "expressions in pieces",
    pieces: ["a1", "b22", "▁", "▁3"],
    decoder: {
      type: "Sequence",
      decoders: [{ type: "Replace", pattern: { Regex: "[0-9]+" }, content: "#" }, replaceMark],
    },
    held: 0,
  },
  {
    name: "expressions in fused text",
    pieces: ["a1", "b22", "▁", "▁3"],
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Fuse" },
        { type: "Replace", pattern: { Regex: "[0-9]+" }, content: "#" },
        { type: "WordPiece", prefix: "##", cleanup: true },
      ],
    },
    held: Number.POSITIVE_INFINITY,
  },
  {
    name: "speech (CTC)",
    pieces: ["<pad>", "|", "h", "i"],
    decoder: { type: "CTC", pad_token: "<pad>", word_delimiter_token: "|", cleanup: true },
    held: Number.POSITIVE_INFINITY,
  },
];

/** Streams random lists of the given tokens and compares every step with decoding the list at once. */
function compare(
  tokenizer: Tokenizer,
  reference: Reference,
  choices: readonly number[],
  { cleanUp = false, held }: { cleanUp?: boolean; held: number },
  runs: number,
): void {
  const random = randomNumbers(7);
  for (let run = 0; run < runs; run++) {
    const skipSpecialTokens = random(2) === 1;
    const tokens = Array.from(
      { length: 1 + random(24) },
      () => choices[random(choices.length)] ?? 0,
    );
    const whole = (part: number[]) =>
      reference.decode(part, {
        skip_special_tokens: skipSpecialTokens,
        clean_up_tokenization_spaces: cleanUp,
      });
    const stream = tokenizer.stream({ skipSpecialTokens });
    let text = "";
    tokens.forEach((token, i) => {
      text += stream.push(token);
      expect(whole(tokens).startsWith(text), JSON.stringify(tokens)).toBe(true);
      expect(whole(tokens.slice(0, i + 1)).length - text.length).toBeLessThanOrEqual(held);
    });
    text += stream.end();
    expect(text, JSON.stringify(tokens)).toBe(whole(tokens));
    expect(tokenizer.decode(tokens, { skipSpecialTokens })).toBe(text);
  }
}

describe("a stream of tokens gives the text of all of them, early and without revision:", () => {
  test.each(kinds)("$name", async (kind) => {
    const json = tokenizerJson(kind.pieces, kind.decoder, kind.added);
    const tokenizer = await loadJson(json, { clean_up_tokenization_spaces: kind.cleanUp === true });
    compare(tokenizer, await referenceOf(json), [...kind.pieces.keys()], kind, 400);
  });

  test("the demo's tokenizer", async () => {
    const tokenizer = await loadTokenizer(demo);
    const json = JSON.parse(readFileSync("models/demo/tokenizer.json", "utf8")) as object;
    const reference = await referenceOf(json);
    compare(tokenizer, reference, [...Array(4096).keys()], { held: 1 }, 300);
    // Single bytes: mostly broken characters.
    compare(tokenizer, reference, [...Array(258).keys()], { held: 1 }, 300);
    compare(tokenizer, reference, await tokenizer.encode("né 日本 🎉"), { held: 1 }, 300);
  });
});

test("characters of several tokens come out whole, when their last byte does", async () => {
  const tokenizer = await loadTokenizer(demo);
  const tokens = await tokenizer.encode("🎉", { addSpecialTokens: false });
  expect(tokens.length).toBeGreaterThan(1);
  const stream = tokenizer.stream();
  expect(tokens.map((token) => stream.push(token))).toEqual([
    ...tokens.slice(1).map(() => ""),
    "🎉",
  ]);
  expect(stream.end()).toBe("");
});

test("half a character at the end is a replacement character", async () => {
  const tokenizer = await loadTokenizer(demo);
  const stream = tokenizer.stream();
  const [first = 0] = await tokenizer.encode("🎉", { addSpecialTokens: false });
  expect(stream.push(first)).toBe("");
  expect(stream.end()).toBe("\uFFFD");
});

test("a byte order mark is kept wherever it stands", async () => {
  const pieces = [...byteTokens, "a"];
  const tokenizer = await loadJson(tokenizerJson(pieces, llama));
  expect(tokenizer.decode([0xef, 0xbb, 0xbf, 256, 0xef, 0xbb, 0xbf])).toBe("\uFEFFa\uFEFF");
});

test("the space in front of a text's first word goes, that of its continuation stays", async () => {
  const tokenizer = await loadJson(tokenizerJson(["▁the", "▁end", "<s>"], llama));
  expect(tokenizer.decode([1])).toBe("end");
  const stream = tokenizer.stream({ after: [0] });
  expect(stream.push(1) + stream.end()).toBe(" end");
});

test("special tokens before a text do not make it a continuation when they are left out", async () => {
  const json = tokenizerJson(["▁the", "<s>"], llama, [{ content: "<s>", special: true }]);
  const tokenizer = await loadJson(json);
  const stream = tokenizer.stream({ after: [1], skipSpecialTokens: true });
  expect(stream.push(0)).toBe("the");
});

test("a metaspace that is never prepended is never dropped", async () => {
  const decoder = { type: "Metaspace", prepend_scheme: "never" };
  const tokenizer = await loadJson(tokenizerJson(["▁the"], decoder));
  expect(tokenizer.decode([0])).toBe(" the");
});

test("tokens the model has and the tokenizer lacks have no text", async () => {
  const tokenizer = await loadJson(tokenizerJson(["a", "b"], null), {}, 10);
  expect(tokenizer.decode([0, 7, 1])).toBe("a b");
});

test("byte-level pieces outside the alphabet are taken as text", async () => {
  const tokenizer = await loadJson(tokenizerJson(["a", "日本 "], { type: "ByteLevel" }));
  expect(tokenizer.decode([0, 1])).toBe("a日本 ");
});

test.each([undefined, null, 5, "5"])("%s is refused where tokens are expected", async (tokens) => {
  const tokenizer = await loadTokenizer(demo);
  const bad = tokens as unknown as number[];
  expectError(() => tokenizer.decode(bad), "ERR_NVIUM_INVALID_ARG");
  if (tokens !== undefined) {
    expectError(() => tokenizer.stream({ after: bad }), "ERR_NVIUM_INVALID_ARG");
  }
});

test("null is refused where options are expected", async () => {
  const tokenizer = await loadTokenizer(demo);
  const bad = null as unknown as object;
  await expectRejection(tokenizer.encode("a", bad), "ERR_NVIUM_INVALID_ARG");
  expectError(() => tokenizer.decode([5], bad), "ERR_NVIUM_INVALID_ARG");
  expectError(() => tokenizer.stream(bad), "ERR_NVIUM_INVALID_ARG");
});

test.each([-1, 4096, 1.5, Number.NaN, "1", undefined])("token %s is refused", async (token) => {
  const tokenizer = await loadTokenizer(demo);
  const bad = token as number;
  expect(expectError(() => tokenizer.decode([5, bad]), "ERR_NVIUM_INVALID_ARG").message).toContain(
    "0 to 4095",
  );
  expectError(() => tokenizer.stream().push(bad), "ERR_NVIUM_INVALID_ARG");
  expectError(() => tokenizer.stream({ after: [bad] }), "ERR_NVIUM_INVALID_ARG");
});

test("a token costs the same however much text came before", async () => {
  const tokenizer = await loadTokenizer(demo);
  const stream = tokenizer.stream();
  // Half a million tokens: anything that looks back at the text would take hours.
  for (let i = 0; i < 500_000; i++) stream.push(300 + (i % 3000));
  expect(stream.end()).toBe("");
});
