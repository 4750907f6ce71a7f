/** Tokenizers on threads of their own, as built: what the JavaScript thread is free for meanwhile, and how they end. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { demo, tokenizerJson, writeFiles } from "./helpers.js";

// The thread's file is JavaScript, so it exists only where the library was built.
const folder = new URL("../../dist/text/", import.meta.url);
const built = new URL("tokenizer.js", folder).href;
const { hostEncoder } = (await import(
  new URL("host.js", folder).href
)) as typeof import("../../lib/text/host.js");
const { loadTokenizer } = (await import(built)) as typeof import("../../lib/text/tokenizer.js");

/** A tokenizer that takes a while to build: all words of up to three letters of these. */
function large() {
  const letters = [..."abcdefghijklmnopqrstuvwxyz0123456789"];
  const pieces = letters.flatMap((a) => [
    a,
    ...letters.flatMap((b) => [a + b, ...letters.map((c) => a + b + c)]),
  ]);
  const json = new TextEncoder().encode(JSON.stringify(tokenizerJson(pieces, null)));
  return { file: "tokenizer.json", json, named: [] };
}

/** How often the event loop turns until `work` is done. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let done = false;
  let turns = 0;
  const over = work.finally(() => {
    done = true;
  });
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve));
    turns++;
  }
  await over;
  return turns;
}

describe("the event loop turns", () => {
  // A thread that is held turns a handful of times; a free one thousands of times.
  const MANY = 200;

  test("while a text of 500,000 characters is encoded", async () => {
    const tokenizer = await loadTokenizer(demo);
    const text = "Once upon a time, there were 3 kings; né 日本 🎉.\n"
      .repeat(10_700)
      .slice(0, 500_000);
    const encoded = tokenizer.encode(text, { addSpecialTokens: false });
    expect(await turnsDuring(encoded)).toBeGreaterThan(MANY);
    expect(tokenizer.decode(await encoded)).toBe(text);
    await tokenizer.dispose();
  });

  test("while a large tokenizer is built", async () => {
    const building = hostEncoder(large());
    expect(await turnsDuring(building)).toBeGreaterThan(MANY);
    await (await building).dispose();
  });
});

test("texts encoded at once get their own tokens, long or short, in whatever order they end", async () => {
  const tokenizer = await loadTokenizer(demo);
  const texts = [30_000, 3, 20_000, 40, 0].map((length, i) => `${i} king `.repeat(length));
  const together = await Promise.all(texts.map((text) => tokenizer.encode(text)));
  for (const [i, text] of texts.entries()) {
    expect(together[i]).toEqual(await tokenizer.encode(text));
    expect(tokenizer.decode(together[i] ?? [], { skipSpecialTokens: true })).toBe(text);
  }
  await tokenizer.dispose();
});

test("errors keep code, message and details on their way from the thread", async () => {
  const json = { ...tokenizerJson(["a"], null), normalizer: { type: "Riddle" } };
  const file = `${writeFiles({ "tokenizer.json": json })}/tokenizer.json`;
  const loading = loadTokenizer({ ...demo, tokenizerFile: file });
  const error = await loading.catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: "ERR_NVIUM_TOKENIZER", details: { file } });
  expect(String(error)).toContain("Riddle");
});

test("after dispose encoding is refused, what was being encoded too, and decoding works", async () => {
  const tokenizer = await loadTokenizer(demo);
  const encoding = tokenizer.encode("king ".repeat(100_000)).catch((reason: unknown) => reason);
  await tokenizer.dispose();
  expect(await encoding).toMatchObject({ code: "ERR_NVIUM_DISPOSED" });
  await expect(tokenizer.encode("a")).rejects.toMatchObject({ code: "ERR_NVIUM_DISPOSED" });
  expect(tokenizer.decode([0, 1])).toBe("<s></s>");
  await tokenizer.dispose();
});

test("an abort while it is built rejects with the signal's reason", async () => {
  const controller = new AbortController();
  const building = hostEncoder(large(), controller.signal);
  setImmediate(() => controller.abort("enough"));
  await expect(building).rejects.toBe("enough");
  await expect(hostEncoder(large(), controller.signal)).rejects.toBe("enough");
});

describe("a process", () => {
  /** Runs a program with the demo's tokenizer as `tokenizer`. */
  async function run(program: string, ...flags: string[]) {
    const start = `const { loadTokenizer } = await import(${JSON.stringify(built)});
      const tokenizer = await loadTokenizer(${JSON.stringify(demo)});\n`;
    const parameters = [
      ...flags,
      "--no-warnings",
      "--input-type=module",
      "--eval",
      start + program,
    ];
    const child = spawn(process.execPath, parameters);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data) => {
        output += data;
      });
    }
    const [code, signal] = await once(child, "close");
    return { code, signal, output };
  }

  test("ends by itself with a tokenizer that is not disposed, after what it encodes", async () => {
    const program = 'tokenizer.encode("a").then(({ length }) => console.log(length));';
    expect(await run(program)).toEqual({ code: 0, signal: null, output: "2\n" });
  });

  test("exits while a long text is encoded", async () => {
    const program = 'tokenizer.encode("king ".repeat(1e5)); setImmediate(() => process.exit(7));';
    expect(await run(program)).toEqual({ code: 7, signal: null, output: "" });
  });

  test("without permission for threads has its tokenizer all the same", async () => {
    const [major = 0] = process.versions.node.split(".").map(Number);
    const flag = major >= 22 ? "--permission" : "--experimental-permission";
    const allowed = ["--allow-addons", `--allow-fs-read=${process.cwd()}/*`];
    const program = 'console.log((await tokenizer.encode("a")).length);';
    expect(await run(program, flag, ...allowed)).toEqual({ code: 0, signal: null, output: "2\n" });
  });

  test("without permission for addons is told so", async () => {
    const [major = 0] = process.versions.node.split(".").map(Number);
    const flag = major >= 22 ? "--permission" : "--experimental-permission";
    const { code, output } = await run("", flag, `--allow-fs-read=${process.cwd()}/*`);
    expect(code).toBe(1);
    expect(output).toContain("ERR_NVIUM_BINDING");
    expect(output).toContain("addon");
  });
});
