import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { loadTokenizer } from "../../lib/text/tokenizer.js";
import { demo, expectRejection, loadJson, tokenizerJson, writeFiles } from "./helpers.js";

/** `tokens.i` of the demo's expected outputs. */
function expectedTokens(i: number): number[] {
  const file = readFileSync("test/demo/expected.safetensors");
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, start)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  const { dtype, data_offsets: [from, to] = [0, 0] } = header[`tokens.${i}`] ?? { dtype: "none" };
  expect(dtype).toBe("I32");
  return Array.from({ length: (to - from) / 4 }, (_, t) => file.readInt32LE(start + from + 4 * t));
}

describe("the demo's tokenizer", async () => {
  const tokenizer = await loadTokenizer(demo);
  const { inputs } = JSON.parse(readFileSync("test/demo/expected.json", "utf8")) as {
    inputs: { text: string }[];
  };

  test.each([0, 1, 2])("encodes prompt %i like the authors' tokenizer", async (i) => {
    const text = inputs[i]?.text ?? "";
    expect(await tokenizer.encode(text)).toEqual(expectedTokens(i));
    expect(tokenizer.decode(expectedTokens(i))).toBe(`<s>${text}`);
  });

  test("knows its special tokens", async () => {
    expect(tokenizer.bosToken).toBe(0);
    expect(tokenizer.eosToken).toBe(1);
    expect([...tokenizer.specialTokens].sort()).toEqual([0, 1]);
    expect(await tokenizer.encode("a</s>")).toEqual([
      0,
      ...(await tokenizer.encode("a")).slice(1),
      1,
    ]);
  });

  test("gives back what it encoded", async () => {
    const text = readFileSync("test/demo/validation.txt", "utf8");
    const tokens = await tokenizer.encode(text);
    expect(tokenizer.decode(tokens, { skipSpecialTokens: true })).toBe(text);
    expect(tokenizer.decode(tokens)).toBe(`<s>${text}`);
  });

  test("adds special tokens unless told not to", async () => {
    expect(await tokenizer.encode("")).toEqual([0]);
    expect(await tokenizer.encode("", { addSpecialTokens: false })).toEqual([]);
    expect(tokenizer.decode([])).toBe("");
  });

  test("reads unpaired surrogates as replacement characters", async () => {
    const tokens = await tokenizer.encode("a\uD83Cb\uDF89 🎉");
    expect(tokenizer.decode(tokens.slice(1))).toBe("a\uFFFDb\uFFFD 🎉");
  });

  test("encodes a megabyte without a space in it", async () => {
    const text = "abcdefghij".repeat(100_000);
    expect(tokenizer.decode((await tokenizer.encode(text)).slice(1))).toBe(text);
  });

  test("refuses what is not a string", async () => {
    await expectRejection(tokenizer.encode(5 as unknown as string), "ERR_NVIUM_INVALID_ARG");
  });
});

test("a checkpoint without a tokenizer says that text needs one", async () => {
  const promise = loadTokenizer({ ...demo, tokenizerFile: null });
  const error = await expectRejection(promise, "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain("tokenizer.json");
});

test("tokenizer_config.json may be missing", async () => {
  const tokenizer = await loadTokenizer({ ...demo, tokenizerConfigFile: null });
  expect(tokenizer.bosToken).toBeNull();
  expect(await tokenizer.encode("")).toEqual([0]);
});

test("tokens named special are special, as strings or objects, and only if they exist", async () => {
  const tokenizer = await loadJson(tokenizerJson(["a", "<end>", "<tool>", "b"], null), {
    bos_token: "<begin>",
    eos_token: { __type: "AddedToken", content: "<end>" },
    additional_special_tokens: ["<tool>", "<other>"],
  });
  expect(tokenizer.bosToken).toBeNull();
  expect(tokenizer.eosToken).toBe(1);
  expect([...tokenizer.specialTokens]).toEqual([1, 2]);
  expect(tokenizer.decode([0, 1, 2, 3], { skipSpecialTokens: true })).toBe("a b");
});

test("a model's type is guessed where an old file leaves it out", async () => {
  const json = tokenizerJson(["a", "b"], null);
  const { type: _, ...model } = json.model as Record<string, unknown>;
  expect(await (await loadJson({ ...json, model })).encode("ab")).toEqual([0, 1]);
  const unigram = {
    vocab: [
      ["<unk>", 0],
      ["a", -1],
    ],
    unk_id: 0,
  };
  expect(await (await loadJson({ ...json, model: unigram })).encode("aa")).toEqual([1, 1]);
});

test("text without a token is an error where nothing stands for the unknown", async () => {
  const json = tokenizerJson(["a"], null);
  const model = { type: "WordLevel", vocab: { a: 0 }, unk_token: "[UNK]" };
  const tokenizer = await loadJson({ ...json, model });
  const error = await expectRejection(tokenizer.encode("b"), "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain("[UNK]");
});

describe("a damaged tokenizer is an error that names the file and the fault:", () => {
  const json = tokenizerJson(["a", "b"], null);
  const bpe = json.model as Record<string, unknown>;
  const split = (pattern: unknown) => ({
    type: "Sequence",
    pretokenizers: [{ type: "Split", pattern, behavior: "Isolated" }],
  });
  const cases: [string, unknown, string][] = [
    ["not JSON", "{", "JSON"],
    ["an array", [], "object"],
    ["no model", { ...json, model: undefined }, '"model"'],
    ["unknown model", { ...json, model: { ...bpe, type: "Letters" } }, '"Letters"'],
    ["no model type", { ...json, model: { vocab: {} } }, "missing"],
    ["no vocabulary", { ...json, model: { ...bpe, vocab: undefined } }, "vocab"],
    ["vocabulary of another kind", { ...json, model: { ...bpe, vocab: ["a"] } }, "sequence"],
    ["random merges", { ...json, model: { ...bpe, dropout: 0.1 } }, '"model.dropout"'],
    ["negative id", { ...json, model: { ...bpe, vocab: { a: -1 } } }, "-1"],
    ["id that is no number", { ...json, model: { ...bpe, vocab: { a: "1" } } }, '"1"'],
    ["added token without text", { ...json, added_tokens: [{ id: 1 }] }, "content"],
    ["added tokens of another kind", { ...json, added_tokens: {} }, "map"],
    ["null among added tokens", { ...json, added_tokens: [null] }, "null"],
    [
      "unigram entries of another kind",
      { ...json, model: { type: "Unigram", vocab: [3] } },
      "integer",
    ],
    ["merges of another kind", { ...json, model: { ...bpe, merges: 5 } }, "tokenizer.json"],
    ["unknown decoder", { ...json, decoder: { type: "Riddle" } }, "Riddle"],
    ["unknown normalizer", { ...json, normalizer: { type: "Riddle" } }, "Riddle"],
    ["unknown pre-tokenizer", { ...json, pre_tokenizer: { type: "Riddle" } }, "Riddle"],
    [
      "unknown step among others",
      { ...json, post_processor: { type: "Sequence", processors: [{ type: "Riddle" }] } },
      "Riddle",
    ],
    ["unknown pattern", { ...json, pre_tokenizer: split({ Glob: "*" }) }, "Glob"],
    ["broken expression", { ...json, pre_tokenizer: split({ Regex: "(" }) }, "tokenizer.json"],
    [
      "decoder field of another kind",
      { ...json, decoder: { type: "WordPiece", prefix: 3 } },
      "integer",
    ],
  ];

  test.each(cases)("%s", async (_name, content, fault) => {
    const printed = vi.spyOn(console, "warn");
    const directory = writeFiles({ "tokenizer.json": content });
    const file = join(directory, "tokenizer.json");
    const promise = loadTokenizer({ ...demo, tokenizerFile: file });
    const error = await expectRejection(promise, "ERR_NVIUM_TOKENIZER");
    expect(error.message).toContain(file);
    expect(error.message).toContain(fault);
    expect(error.details.file).toBe(file);
    expect(printed).not.toHaveBeenCalled();
  });

  test("a file that is not there", async () => {
    const promise = loadTokenizer({ ...demo, tokenizerFile: "nowhere/tokenizer.json" });
    const error = await expectRejection(promise, "ERR_NVIUM_TOKENIZER");
    expect(error.cause).toMatchObject({ code: "ENOENT" });
  });
});

test("a tokenizer with more tokens than the model loads; encoding such a token is the error", async () => {
  const json = tokenizerJson(["a", "b", "<far>"], null, [{ content: "<far>", special: true }]);
  const tokenizer = await loadJson(json, { eos_token: "<far>" }, 2);
  expect(await tokenizer.encode("ab")).toEqual([0, 1]);
  expect(tokenizer.eosToken).toBeNull();
  expect(tokenizer.specialTokens.size).toBe(0);
  const error = await expectRejection(tokenizer.encode("a<far>"), "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain('"<far>"');
  expect(error.details).toMatchObject({ token: 2, vocabSize: 2 });
});
