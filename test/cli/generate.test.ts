import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { DEFAULT_PROMPT } from "../../lib/cli/generate.js";
import { generateHelp, OPTIONS } from "../../lib/cli/generate-args.js";
import { NviumError } from "../../lib/errors.js";
import { info, plain, visit } from "./fake.js";

describe("the prompt", () => {
  test("is the argument", async () => {
    expect((await visit(["generate", "He said"])).prompts[0]?.prompt).toBe("He said");
    expect((await visit(["generate", ""])).prompts[0]?.prompt).toBe("");
    expect((await visit(["generate", "--", "--x"])).prompts[0]?.prompt).toBe("--x");
  });

  test("is the file, without the line end that closes it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "nvium-cli-"));
    const file = join(directory, "prompt.txt");
    writeFileSync(file, "One\n\nTwo\r\n");
    const { prompts } = await visit(["generate", "--file", file]);
    expect(prompts[0]?.prompt).toBe("One\n\nTwo");
    rmSync(directory, { recursive: true });
  });

  test("is standard input where that is no terminal", async () => {
    expect((await visit(["generate"], { stdin: "Où?\n" })).prompts[0]?.prompt).toBe("Où?");
  });

  test("is the beginning of a story where there is none", async () => {
    for (const visited of [
      await visit(["generate"]),
      await visit(["generate"], { stdin: "" }),
      await visit(["generate", "--no-stdin"], { stdin: "ignored" }),
    ]) {
      expect(visited.prompts[0]?.prompt).toBe(DEFAULT_PROMPT);
      expect(visited.loads[0]?.directory).toBe(resolve("models/demo"));
    }
  });
});

test("options reach the engine as what they mean", async () => {
  const { loads, prompts } = await visit(
    (
      "generate x -m some/model -n 7 --seed 18446744073709551615 --stop a --stop b -t 0.5 --top-k 3" +
      " --router sample --router-temperature 0 --threads 2 --device cpu --dtype int4 --max-pending 0"
    ).split(" "),
  );
  expect(loads[0]).toMatchObject({
    directory: resolve("some/model"),
    options: { device: "cpu", dtype: "int4", threads: 2 },
  });
  expect(prompts[0]?.options).toEqual({
    maxNewTokens: 7,
    seed: 2n ** 64n - 1n,
    stop: ["a", "b"],
    temperature: 0.5,
    topK: 3,
    router: "sample",
    routerTemperature: 0,
    maxPending: 0,
    signal: expect.any(AbortSignal),
  });
});

test("what is not given is left to the engine", async () => {
  const { prompts } = await visit(["generate", "--greedy", "--max-pending", "unbounded"]);
  expect(prompts[0]?.options).toEqual({
    maxNewTokens: 200,
    seed: expect.any(BigInt),
    greedy: true,
    maxPending: Number.POSITIVE_INFINITY,
    signal: expect.any(AbortSignal),
  });
});

test("without a seed there is a random one, shown, also when interrupted", async () => {
  const seeds = new Set<string>();
  for (const world of [{}, {}, { interruptAfter: 1 }]) {
    const { prompts, stderr } = await visit(["generate"], world);
    const seed = String(prompts[0]?.options.seed);
    expect(stderr).toMatch(new RegExp(`^seed +${seed}$`, "m"));
    expect(Number(seed)).toBeLessThan(2 ** 32);
    seeds.add(seed);
  }
  expect(seeds.size).toBe(3);
});

test.each([
  ["--bogus"],
  ["one two"],
  ["x --file y"],
  ["--seed x"],
  ["--seed 18446744073709551616"],
  ["--seed 1.5"],
  ["-n 0"],
  ["-n 1e3"],
  ["--temperature=-1"],
  ["--temperature hot"],
  ["--temperature="],
  ["--temperature Infinity"],
  ["--top-k 0"],
  ["--router best"],
  ["--device tpu"],
  ["--dtype int5"],
  ["--threads 0"],
  ["--temperature 1e9"],
  ["--router-temperature 1e-9"],
  ["--top-k 9999999999"],
  ["--max-pending 9999999999"],
  ["--max-pending inf"],
  ["--model http://x/y"],
  ["--max-pending=-1"],
  ["--stop="],
  ["--greedy --temperature 1"],
  ["--router greedy --router-temperature 1"],
  ["--json=yes"],
])("%s is wrong usage, said before anything is loaded", async (line) => {
  const { code, stdout, stderr, loads } = await visit(["generate", ...line.split(" ")]);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toMatch(/^nvium generate: .*\n(.*\n)*Try "nvium generate --help"\.\n$/);
  expect(loads).toEqual([]);
});

test("a number that is not meant names what is", async () => {
  const { stderr } = await visit(["generate", "--max-pending", "inf"]);
  expect(stderr).toContain("unbounded");
});

test("a model may be given by its file: URL", async () => {
  const { loads } = await visit(["generate", "--model", "file:///some/model"]);
  expect(loads[0]?.directory).toBe("/some/model");
});

describe("as text", () => {
  test("the story goes to standard output, the summary to standard error", async () => {
    const { code, stdout, stderr, disposed } = await visit([
      "generate",
      "He",
      "--seed",
      "18446744073709551615",
    ]);
    expect(code).toBe(0);
    expect(stdout).toBe("He there was a\n");
    expect(stderr).toMatch(/^\nmodel .*\ntokens .* 3 in /);
    expect(stderr).toContain("seed            18446744073709551615\n");
    expect(disposed).toBe(1);
  });

  test("on a terminal each token has its exit's colour, with a legend", async () => {
    const { stdout, stderr } = await visit(["generate", "He"], { columns: 80 });
    expect(stdout).toContain(
      "\x1b[2mHe\x1b[22m\x1b[38;5;30m there\x1b[39m\x1b[38;5;99m was\x1b[39m\x1b[38;5;164m a\x1b[39m\n",
    );
    expect(plain(stdout)).toContain("\n\n■ exit 1, layer 2   ■ exit 2, layer 4");
    expect(stderr).toContain("Loading demo  50 %");
  });

  test("on a terminal lines break between words, elsewhere the text is as it is", async () => {
    const words = [" wal", "ked", " and", " walked", ".\n", "  The", " end"];
    const { stdout } = await visit(["generate", "He", "--no-summary"], { words, columns: 12 });
    expect(plain(stdout)).toBe("He walked\nand walked.\n  The end\n");
    expect(stdout).toContain(
      "\x1b[38;5;30m wal\x1b[39m\x1b[38;5;99mked\x1b[39m\n\x1b[38;5;164mand",
    );
    const piped = await visit(["generate", "He", "--no-summary"], { words });
    expect(piped.stdout).toBe("He walked and walked.\n  The end\n");
  });

  test.each([
    [["--no-color"], {}],
    [[], { NO_COLOR: "1" }],
  ])("%j %j: a terminal without colour has no legend and no escapes", async (args, env) => {
    const { stdout, stderr } = await visit(["generate", ...args], { columns: 80, env });
    expect(stdout).toBe("Once upon a time there was a\n");
    expect(stderr).not.toContain("\x1b[3");
  });

  test("a terminal is safe from what a model says, a file gets it as it is", async () => {
    const words = ["\x1b[2J", "\n"];
    const terminal = await visit(["generate", "x", "--no-summary"], { words, columns: 80 });
    expect(plain(terminal.stdout)).toBe("x�[2J\n");
    expect((await visit(["generate", "x"], { words })).stdout).toBe("x\x1b[2J\n");
  });

  test("prompt and summary can be left out", async () => {
    const { stdout, stderr } = await visit(["generate", "--no-echo", "--no-summary"]);
    expect(stdout).toBe(" there was a\n");
    expect(stderr).toBe("");
  });
});

describe("as JSON", () => {
  test("standard output is one event a line", async () => {
    const { stdout, stderr } = await visit(["generate", "--json", "--seed", "3"], { columns: 80 });
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown);
    const seconds = expect.any(Number);
    expect(events).toEqual([
      { type: "load", model: resolve("models/demo"), seconds, info },
      { type: "chunk", text: " there", tokens: [100], exits: [1] },
      { type: "chunk", text: " was", tokens: [101], exits: [2] },
      { type: "chunk", text: " a", tokens: [102], exits: [3] },
      {
        type: "summary",
        finishReason: "length",
        tokens: 3,
        exits: [1, 1, 1, 0],
        seconds,
        layerPasses: 15,
        weightBytes: 6_000_000,
        rowsRun: 18,
        rowsNeverRun: 6,
        discarded: { tokens: 0, layerPasses: 0, weightBytes: 0, rowsRun: 0 },
        seed: "3",
      },
    ]);
    expect(stderr).not.toContain("seed");
  });

  test("a failure is an event, and a message beside it", async () => {
    const loadError = new NviumError("ERR_NVIUM_IO", "cannot read x");
    const error = { type: "error", code: "ERR_NVIUM_IO", message: "cannot read x" };
    const unloaded = await visit(["generate", "--json"], { loadError });
    expect({ ...unloaded, stdout: JSON.parse(unloaded.stdout) }).toMatchObject({
      ...{ code: 1, stdout: error, stderr: expect.stringContaining("cannot read x") },
    });
    const onTheWay = await visit(["generate", "--json"], { generateError: new Error("no luck") });
    const events = onTheWay.stdout.trimEnd().split("\n");
    expect(JSON.parse(events.at(-1) ?? "")).toEqual({
      ...{ type: "error", code: null, message: "no luck" },
    });
    const wrong = await visit(["generate", "--json", "--temperature", "1e9"]);
    expect(JSON.parse(wrong.stdout)).toMatchObject({ code: "ERR_NVIUM_INVALID_ARG" });
    expect(wrong.code).toBe(2);
    expect((await visit(["generate", "--bogus", "--", "--json"])).stdout).toBe("");
  });

  test("an interrupted run ends with what is known", async () => {
    const { code, stdout } = await visit(["generate", "--json"], { interruptAfter: 1 });
    expect(code).toBe(130);
    expect(JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "")).toMatchObject({
      finishReason: "interrupted",
      tokens: 1,
    });
  });
});

describe("failing", () => {
  test("a model that cannot be loaded is a message and exit code 1", async () => {
    const loadError = new NviumError("ERR_NVIUM_IO", "cannot read\x1b x/config.json");
    const { code, stdout, stderr, disposed } = await visit(["generate"], { loadError });
    expect({ code, stdout, stderr, disposed }).toEqual({
      code: 1,
      stdout: "",
      stderr: "nvium: cannot read� x/config.json (ERR_NVIUM_IO)\n",
      disposed: 0,
    });
  });

  test("a failure on the way ends the line and disposes of the model", async () => {
    const generateError = new Error("out of luck");
    const { code, stdout, stderr, disposed } = await visit(["generate"], { generateError });
    expect({ code, stdout, stderr, disposed }).toEqual({
      code: 1,
      stdout: "Once upon a time there was a\n",
      stderr: "nvium: out of luck\n",
      disposed: 1,
    });
  });

  test("a prompt file that is not there is a message", async () => {
    const { code, stderr } = await visit(["generate", "--file", "nowhere.txt"]);
    expect(code).toBe(1);
    expect(stderr).toContain("nowhere.txt");
    expect(stderr).not.toContain("    at ");
  });

  test("an interruption shows what there is and exits with 130", async () => {
    const { code, stdout, stderr, disposed } = await visit(["generate"], { interruptAfter: 2 });
    expect({ code, stdout, disposed }).toEqual({
      code: 130,
      stdout: "Once upon a time there was\n",
      disposed: 1,
    });
    expect(stderr).toContain("interrupted");
  });
});

test("the help fits a terminal and names every option", async () => {
  const { code, stdout } = await visit(["generate", "--help"]);
  expect(code).toBe(0);
  expect(stdout).toBe(generateHelp);
  for (const name of Object.keys(OPTIONS)) expect(stdout).toMatch(new RegExp(` --${name}\\b`));
  for (const line of generateHelp.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
});
