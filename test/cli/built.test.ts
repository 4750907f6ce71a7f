/** The built command with the real engine and the demo, as a process: what a person or a pipe sees, and exit codes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { plain } from "./fake.js";

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `nvium generate`; `atFirst` is called when something has come from it. */
async function nvium(
  line: string,
  env: Readonly<Record<string, string>> = {},
  atFirst: (child: ReturnType<typeof spawn>) => void = () => undefined,
): Promise<Ended> {
  const { NO_COLOR: _, FORCE_COLOR: __, COLUMNS: ___, ...inherited } = process.env;
  const child = spawn(process.execPath, ["dist/cli/main.js", "generate", ...line.split(" ")], {
    env: { ...inherited, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data) => {
    if (stdout === "") atFirst(child);
    stdout += data;
  });
  child.stderr.on("data", (data) => {
    stderr += data;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

function events(stdout: string): Record<string, unknown>[] {
  const lines = stdout.trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("tells the same story for the same seed, and says what it cost", async () => {
  const [one, two] = await Promise.all([
    nvium("--no-stdin --seed 7 -n 60"),
    nvium("--no-stdin --seed 7 -n 60 --threads 1 --max-pending 0"),
  ]);
  expect(one).toMatchObject({ code: 0, stdout: two.stdout });
  expect(one.stdout).toMatch(/^Once upon a time.{20}/);
  expect(one.stderr).toMatch(/^\nmodel {11}4\.48 M parameters, bf16, on cpu \(/);
  expect(one.stderr).toMatch(/^tokens +60 in .* tokens\/s; the length asked for was reached$/m);
  expect(one.stderr).toMatch(/^rows never run +\d+ /m);
  expect(one.stderr).toMatch(/^seed +7$/m);
  expect(two.stderr).toMatch(/^weight passes +8\.00 layers a token, of 8$/m);
});

test("for eyes the story is tinted by exit, broken between words, and has a legend", async () => {
  const line = "--no-stdin --seed 7 -n 60";
  const tinted = await nvium(line, { FORCE_COLOR: "1", COLUMNS: "50" });
  const [story = "", legend = ""] = plain(tinted.stdout).split("\n\n■");
  const bare = await nvium(line);
  expect(story.replaceAll("\n", " ")).toBe(bare.stdout.trimEnd().replaceAll("\n", " "));
  for (const part of story.split("\n")) expect(part.length).toBeLessThanOrEqual(50);
  expect(legend).toMatch(/exit 1, layer 2.*\n.*all 8 layers/);
  for (const color of [30, 99, 164, 166]) expect(tinted.stdout).toContain(`\x1b[38;5;${color}m`);
});

test("--json has the same text and counts, one event a line", async () => {
  const { code, stdout, stderr } = await nvium("--no-stdin --seed 7 -n 60 --json");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const [load, ...rest] = events(stdout);
  const summary = rest.pop();
  expect(load).toMatchObject({ type: "load", info: { layers: 8, exits: [2, 4, 6, 8] } });
  const bare = await nvium("--no-stdin --seed 7 -n 60 --no-echo --no-summary");
  expect(rest.map((chunk) => chunk.text).join("")).toBe(bare.stdout.replace(/\n$/, ""));
  const left = rest.flatMap((chunk) => chunk.exits as number[]);
  expect(summary).toMatchObject({
    type: "summary",
    finishReason: "length",
    tokens: 60,
    exits: [1, 2, 3, 4].map((exit) => left.filter((other) => other === exit).length),
    seed: "7",
  });
});

test("Ctrl-C while it tells ends it with 130 and the summary of what there is", async () => {
  const { code, stdout } = await nvium(
    "--no-stdin --seed 7 -n 1000 --json --threads 1",
    {},
    (child) => child.kill("SIGINT"),
  );
  expect(code).toBe(130);
  expect(events(stdout).at(-1)).toMatchObject({ finishReason: "interrupted", seed: "7" });
});

test("a pipe that is closed while it tells ends it quietly", async () => {
  const { code, stderr } = await nvium("--no-stdin --seed 7 -n 1000", {}, (child) =>
    child.stdout?.destroy(),
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
});

test("a directory without a model is exit code 1, a value the engine refuses is 2", async () => {
  const missing = await nvium("--no-stdin --model test/fixtures");
  expect(missing).toMatchObject({ code: 1, stdout: "" });
  expect(missing.stderr).toMatch(/^nvium: .*config\.json.*\(ERR_NVIUM_/);
  const refused = await nvium("--no-stdin --temperature 1e9");
  expect(refused.code).toBe(2);
  expect(refused.stderr).toMatch(/temperature must be .*\nTry "nvium generate --help"\.\n$/);
});
