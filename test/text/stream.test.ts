import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadLibrary } from "../../lib/text/library.js";
import { type LoadedTokenizer, loadTokenizer } from "../../lib/text/tokenizer.js";
import {
  demo,
  expectError,
  expectRejection,
  loadJson,
  randomNumbers,
  tokenizerJson,
} from "./helpers.js";

/** Decoding of a whole list of pieces, which is what streams are compared with. */
type Reference = (pieces: readonly string[]) => string;

/**
 * The library's own decoder, but for runs of byte pieces, which it replaces whole where they are not UTF-8. (It takes down the
 * process where a `Strip` strips more than there is from both ends, so none here does both.)
 */
function referenceOf(decoder: unknown, cleanUp = false): Reference {
  const json = { version: "1.0", added_tokens: [], model: { type: "BPE", vocab: {}, merges: [] } };
  const whole = loadLibrary()
    .Tokenizer.fromString(JSON.stringify({ ...json, decoder }))
    .getDecoder();
  const readsBytes = JSON.stringify(decoder).includes("ByteFallback");
  return (pieces) => {
    const text = whole?.decode(readsBytes ? joinedBytes(pieces) : pieces) ?? pieces.join(" ");
    return cleanUp ? CLEAN_UP.reduce((text, [from, to]) => text.replaceAll(from, to), text) : text;
  };
}

function joinedBytes(pieces: readonly string[]): string[] {
  const result: string[] = [];
  let run: number[] = [];
  for (const piece of [...pieces, ""]) {
    const byte = byteTokens.indexOf(piece);
    if (byte >= 0) run.push(byte);
    else {
      if (run.length > 0) result.push(new TextDecoder().decode(Uint8Array.from(run)));
      run = [];
      result.push(piece);
    }
  }
  return result.slice(0, -1);
}

const CLEAN_UP = [
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
] as const;

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
const BYTE_LEVEL = {
  type: "ByteLevel",
  add_prefix_space: true,
  trim_offsets: true,
  use_regex: true,
};
const METASPACE = { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true };
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
    decoder: BYTE_LEVEL,
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
    decoder: { type: "Sequence", decoders: [{ type: "ByteFallback" }, METASPACE] },
    held: Number.POSITIVE_INFINITY,
  },
  { name: "metaspace", pieces: sentencePieces, decoder: METASPACE, held: 0 },
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
        { ...METASPACE, prepend_scheme: "never" },
        { type: "Strip", content: " ", start: 2, stop: 0 },
        { type: "Fuse" },
      ],
    },
    held: 2,
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
    held: 0,
  },
  {
    name: "nothing but pieces of silence and repetition (CTC without clean-up)",
    pieces: ["<pad>", "|", "h<pad>"],
    decoder: { type: "CTC", pad_token: "<pad>", word_delimiter_token: "|", cleanup: false },
    held: 0,
  },
  {
    name: "a metaspace after the pieces were fused",
    pieces: sentencePieces,
    decoder: { type: "Sequence", decoders: [{ type: "Fuse" }, METASPACE] },
    held: 0,
  },
  {
    name: "steps before a byte-level one",
    pieces: [...hardBytes.map((byte) => byteAlphabet[byte] ?? ""), "▁a"],
    decoder: { type: "Sequence", decoders: [METASPACE, BYTE_LEVEL] },
    held: 1,
  },
];

/** Streams random lists of the given tokens and compares every step with decoding the list at once. */
function compare(
  tokenizer: LoadedTokenizer,
  pieces: readonly string[],
  reference: Reference,
  choices: readonly number[],
  { held }: { held: number },
  runs: number,
): void {
  const random = randomNumbers(7);
  for (let run = 0; run < runs; run++) {
    const skipSpecialTokens = random(2) === 1;
    const tokens = Array.from(
      { length: 1 + random(24) },
      () => choices[random(choices.length)] ?? 0,
    );
    const shown = (token: number) => !skipSpecialTokens || !tokenizer.specialTokens.has(token);
    const whole = (part: number[]) =>
      reference(part.filter(shown).map((token) => pieces[token] ?? ""));
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
    const { pieces, decoder, added, cleanUp } = kind;
    const json = tokenizerJson(pieces, decoder, added, cleanUp === true ? "WordPiece" : "BPE");
    const tokenizer = await loadJson(json, { clean_up_tokenization_spaces: cleanUp === true });
    compare(tokenizer, pieces, referenceOf(decoder, cleanUp), [...pieces.keys()], kind, 400);
  });

  test("the demo's tokenizer", async () => {
    const tokenizer = await loadTokenizer(demo);
    const json = JSON.parse(readFileSync("models/demo/tokenizer.json", "utf8")) as {
      model: { vocab: Record<string, number> };
      decoder: unknown;
    };
    const reference = referenceOf(json.decoder);
    const pieces = Object.entries(json.model.vocab).reduce<string[]>((list, [piece, id]) => {
      list[id] = piece;
      return list;
    }, []);
    const against = (choices: readonly number[]) =>
      compare(tokenizer, pieces, reference, choices, { held: 1 }, 300);
    against([...Array(4096).keys()]);
    // Single bytes: mostly broken characters.
    against([...Array(258).keys()]);
    against(await tokenizer.encode("né 日本 🎉"));
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
  const decoder = { ...METASPACE, prepend_scheme: "never" };
  const tokenizer = await loadJson(tokenizerJson(["▁the"], decoder));
  expect(tokenizer.decode([0])).toBe(" the");
});

test("only a WordPiece tokenizer is cleaned up, whatever its configuration says", async () => {
  const clean = { clean_up_tokenization_spaces: true };
  const pieces = ["a", "!=", "b", "."];
  const json = (model: "BPE" | "WordPiece") => tokenizerJson(pieces, null, [], model);
  expect((await loadJson(json("BPE"), clean)).decode([0, 1, 2, 3])).toBe("a != b .");
  expect((await loadJson(json("WordPiece"), clean)).decode([0, 1, 2, 3])).toBe("a!= b.");
  const vocab = pieces.map((piece) => [piece, -1]);
  const unigram = { ...json("BPE"), model: { type: "Unigram", unk_id: 0, vocab } };
  expect((await loadJson(unigram, clean)).decode([0, 1, 2, 3])).toBe("a != b .");
});

test("both ends of a text are stripped, however little there is", async () => {
  const decoder = {
    type: "Sequence",
    decoders: [{ type: "Fuse" }, { type: "Strip", content: " ", start: 2, stop: 2 }],
  };
  const tokenizer = await loadJson(tokenizerJson([" ", "a"], decoder));
  expect(tokenizer.decode([0])).toBe("");
  expect(tokenizer.decode([0, 0, 0])).toBe("");
  expect(tokenizer.decode([0, 0, 0, 1, 0, 1, 0, 0, 0])).toBe(" a a ");
});

test("tokens the model has and the tokenizer lacks have no text", async () => {
  const tokenizer = await loadJson(tokenizerJson(["a", "b"], null), {}, 10);
  expect(tokenizer.decode([0, 7, 1])).toBe("a b");
});

test("byte-level pieces outside the alphabet are taken as text", async () => {
  const tokenizer = await loadJson(tokenizerJson(["a", "日本 "], BYTE_LEVEL));
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
