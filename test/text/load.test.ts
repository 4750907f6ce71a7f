/** What a checkpoint says of text in its various files, and what can be given instead. */
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadModel, type Model } from "../../lib/index.js";
import { loadText, type TextOptions, type TextSource } from "../../lib/text/load.js";
import { failure, refuses } from "../support/errors.js";
import { fixture } from "../support/expected.js";
import { loadJson, tokenizerJson, writeFiles } from "./helpers.js";

const json = tokenizerJson(["a", "b", "</s>", "<|im_end|>"], null, [
  { content: "</s>", special: true },
]);

/** The text of a checkpoint with these files. */
function load(
  files: Record<string, unknown>,
  source: Partial<TextSource> = {},
  options: TextOptions = {},
) {
  const directory = writeFiles(files);
  const path = (name: string) => (name in files ? `${directory}/${name}` : null);
  const all: TextSource = {
    directory,
    tokenizerFile: path("tokenizer.json"),
    tokenizerConfigFile: path("tokenizer_config.json"),
    vocabSize: 10,
    eosTokens: [],
    ...source,
  };
  return loadText(all, options, undefined);
}

describe("the ends of a text", () => {
  const config = { eos_token: "</s>" };
  test.each([
    ["config.json", {}, [5], [5]],
    ["generation_config.json", { "generation_config.json": { eos_token_id: 6 } }, [], [6]],
    ["both", { "generation_config.json": { eos_token_id: [5, 6] } }, [5, 7], [5, 7, 6]],
    ["the tokenizer", { "tokenizer.json": json, "tokenizer_config.json": config }, [], [2]],
    ["the old map", { "tokenizer.json": json, "special_tokens_map.json": config }, [], [2]],
    [
      "all of them",
      {
        "tokenizer.json": json,
        "tokenizer_config.json": config,
        "generation_config.json": { eos_token_id: [6] },
      },
      [5],
      [5, 6, 2],
    ],
    ["none", { "generation_config.json": { eos_token_id: null } }, [], []],
    ["what the model lacks", { "generation_config.json": { eos_token_id: [-1, 99, 4] } }, [], [4]],
    [
      "Python's JSON",
      { "generation_config.json": '{"x": [NaN, -Infinity], "eos_token_id": 4}' },
      [],
      [4],
    ],
  ])("as %s says", async (_name, files: Record<string, unknown>, eosTokens, expected) => {
    expect((await load(files, { eosTokens })).eosTokens).toEqual(expected);
  });

  test("are those given, if any are", async () => {
    const files = { "generation_config.json": { eos_token_id: 6 } };
    expect((await load(files, {}, { eosTokens: [3] })).eosTokens).toEqual([3]);
    expect((await load(files, {}, { eosTokens: [] })).eosTokens).toEqual([]);
    await refuses("eosTokens[1]", load(files, {}, { eosTokens: [3, 10] }));
  });

  test.each(["six", [1.5], { a: 1 }])("%j is refused", async (eos_token_id) => {
    const loading = load({ "generation_config.json": { eos_token_id } });
    expect((await failure("ERR_NVIUM_TOKENIZER", loading)).message).toContain("eos_token_id");
  });
});

describe("tokens that tokenizer.json lacks", () => {
  const im = {
    content: "<|im_start|>",
    special: true,
    lstrip: false,
    rstrip: false,
    normalized: false,
  };

  test("come from added_tokens_decoder, in the order of their ids", async () => {
    const tool = { ...im, content: "<tool>", special: false, lstrip: true };
    const config = { added_tokens_decoder: { "5": tool, "4": im, "0": { content: "a" } } };
    const tokenizer = await loadJson(json, config);
    expect(await tokenizer.encode("a<|im_start|>b  <tool>a")).toEqual([0, 4, 1, 5, 0]);
    expect(tokenizer.specialTokens).toEqual(new Set([2, 4]));
  });

  test("come from added_tokens.json", async () => {
    const files = {
      "tokenizer.json": json,
      "added_tokens.json": { "<|im_start|>": 5, "<|x|>": 4 },
      "special_tokens_map.json": { eos_token: "<|x|>", additional_special_tokens: [] },
    };
    const { tokenizer, eosTokens } = await load(files);
    expect(await tokenizer?.encode("a<|im_start|><|x|>")).toEqual([0, 5, 4]);
    expect(tokenizer?.specialTokens).toEqual(new Set([2, 4]));
    expect(eosTokens).toEqual([4]);
  });

  test("are those that are named special, where the vocabulary has their text", async () => {
    const config = {
      eos_token: "<|im_end|>",
      pad_token: "<pad>",
      extra_special_tokens: { x: "<x>" },
    };
    const tokenizer = await loadJson(json, config);
    expect(tokenizer.eosToken).toBe(3);
    expect(await tokenizer.encode("a<|im_end|>b")).toEqual([0, 3, 1]);
    expect(tokenizer.specialTokens).toEqual(new Set([2, 3]));
  });

  test("are named by the old map where there is no added_tokens_decoder, else by the configuration", async () => {
    const map = { "special_tokens_map.json": { eos_token: "<|im_end|>" } };
    const files = { "tokenizer.json": json, ...map };
    const old = await load({ ...files, "tokenizer_config.json": { eos_token: "</s>" } });
    expect(old.eosTokens).toEqual([3]);
    const newer = { eos_token: "</s>", added_tokens_decoder: {} };
    expect((await load({ ...files, "tokenizer_config.json": newer })).eosTokens).toEqual([2]);
  });
});

describe("a tokenizer can be given", () => {
  const other = tokenizerJson(["b", "a"], null);

  test("as the path or URL of a directory or file, or as the file's content", async () => {
    const place = writeFiles({
      "tokenizer.json": other,
      "tokenizer_config.json": { eos_token: "a", chat_template: "its own" },
    });
    const files = { "tokenizer.json": json };
    for (const tokenizer of [place, `${place}/tokenizer.json`, pathToFileURL(place)]) {
      const text = await load(files, {}, { tokenizer });
      expect(await text.tokenizer?.encode("ab", { addSpecialTokens: false })).toEqual([1, 0]);
      expect(text.eosTokens).toEqual([1]);
      expect((await text.chat()).render([])).toBe("its own");
    }
    const given = await load(files, {}, { tokenizer: other });
    expect(await given.tokenizer?.encode("ab")).toEqual([1, 0]);
  });

  test("and is refused where it is none", async () => {
    const nowhere = load({}, {}, { tokenizer: "nowhere/at/all" });
    expect((await failure("ERR_NVIUM_TOKENIZER", nowhere)).message).toContain("nowhere/at/all");
    await failure("ERR_NVIUM_TOKENIZER", load({}, {}, { tokenizer: { model: 3 } }));
    await failure("ERR_NVIUM_TOKENIZER", load({}, {}, { tokenizer: writeFiles({}) }));
  });
});

describe("a model", () => {
  const words = Array.from({ length: 199 }, (_, i) => `w${i}`);
  /** A word is a token. */
  const wordJson = (pieces: readonly string[], special: readonly string[] = []) => ({
    ...tokenizerJson(
      pieces,
      null,
      special.map((content) => ({ content, special: true })),
    ),
    pre_tokenizer: { type: "WhitespaceSplit" },
    model: {
      type: "WordLevel",
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      unk_token: "w0",
    },
  });
  const prompt = [60, 8, 196, 159, 9];
  const settings = { seed: 3, maxNewTokens: 12, eosTokens: [] };
  let plain: Model;
  let drawn: readonly number[];
  beforeAll(async () => {
    plain = await loadModel(fixture("quadrivium-gqa-f32"), {
      tokenizer: wordJson(words),
    });
    drawn = (await plain.generate(prompt, settings).result()).tokens;
  });
  afterAll(() => plain.dispose());

  /** The model with the fourth token that it draws as a special one of this text. */
  const withSpecial = (content: string, options: TextOptions = {}) => {
    const pieces = words.map((word, id) => (id === drawn[3] ? content : word));
    const tokenizer = wordJson(pieces, [content]);
    return loadModel(fixture("quadrivium-gqa-f32"), { tokenizer, ...options });
  };

  test("stops at a special token whose text is a stop string", async () => {
    expect(drawn.indexOf(drawn[3] as number)).toBe(3);
    await using model = await withSpecial("<|eot|>");
    const whole = await model.generate(prompt, settings).result();
    const result = await model
      .generate(prompt, { ...settings, stop: ["never", "<|eot|>"] })
      .result();
    expect(result.finishReason).toBe("stop");
    expect(result.tokens).toEqual(drawn.slice(0, 4));
    expect(result.text).toBe(
      drawn
        .slice(0, 3)
        .map((token) => ` w${token}`)
        .join(""),
    );
    expect(whole.text.startsWith(result.text)).toBe(true);
    expect(whole.tokens).toEqual(drawn);
  });

  test("gives out what might have begun another stop string when it stops at a token", async () => {
    await using model = await withSpecial("<|eot|>");
    const stop = [`w${drawn[2]}!`, "<|eot|>"];
    const result = await model.generate(prompt, { ...settings, stop }).result();
    expect(result.text).toBe(
      drawn
        .slice(0, 3)
        .map((token) => ` w${token}`)
        .join(""),
    );
  });

  test("ends a chat where the template ends a turn, whatever the configuration says", async () => {
    const chatTemplate =
      "{% for m in messages %}{{ m.content }}<|eot|>{% endfor %}{% if not add_generation_prompt %} {% endif %}";
    await using model = await withSpecial("<|eot|>", { chatTemplate, eosTokens: [2] });
    expect(model.info.eosTokens).toEqual([2]);
    const content = "w60 w8 w196 w159 w9";
    const { promptTokens, tokens, finishReason } = await model
      .generate([{ role: "user", content }], { seed: 1, maxNewTokens: 300 })
      .result();
    const end = drawn[3] as number;
    expect(promptTokens).toEqual([...prompt, end]);
    expect(finishReason).toBe("eos");
    expect([2, end]).toContain(tokens.at(-1));
    expect(tokens.slice(0, -1)).not.toContain(end);
    const others = { seed: 1, maxNewTokens: 300, eosTokens: [] };
    const on = await model.generate([{ role: "user", content }], others).result();
    expect(on.finishReason).toBe("length");
  });

  test("hands the options of its template on", async () => {
    const chatTemplate =
      "{{ messages[0].content }}{% if add_generation_prompt %} w5{% endif %}{{ tail }}";
    const tokenizer = wordJson(words);
    await using model = await loadModel(fixture("quadrivium-gqa-f32"), { tokenizer, chatTemplate });
    const messages = [{ role: "user", content: "w1" }];
    expect(await model.applyChatTemplate(messages)).toBe("w1 w5");
    const chat = { addGenerationPrompt: false, variables: { tail: " w7" } };
    expect(await model.applyChatTemplate(messages, chat)).toBe("w1 w7");
    const { promptTokens } = await model.generate(messages, { chat, maxNewTokens: 1 }).result();
    expect(promptTokens).toEqual([1, 7]);
    const wrong = { tails: 1 } as object;
    await refuses("tails", model.generate(messages, { chat: wrong }).text());
  });

  test.each([
    ["tokenizer", ""],
    ["tokenizer", 5],
    ["chatTemplate", {}],
    ["eosTokens", 5],
  ])("refuses %s as %j before it is loaded", async (name, value) => {
    await refuses(name, loadModel("nowhere/at/all", { [name]: value }));
  });
});
