import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { visit } from "./fake.js";

test("--version is the package's", async () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  expect(await visit(["--version"])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: "" });
});

test("--help lists the commands", async () => {
  const { code, stdout } = await visit(["--help"]);
  expect(code).toBe(0);
  expect(stdout).toContain("generate");
});

test.each([
  [["juggle"], "no such command: juggle"],
  [["toString"], "no such command: toString"],
  [[], "no command"],
])("%j is wrong usage", async (args, problem) => {
  const { code, stdout, stderr } = await visit(args);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toContain(problem);
  expect(stderr).toContain("Usage: nvium <command>");
});

/** Starts the built command; these tests need `npm run build` and no addon. */
function start(...args: string[]) {
  const child = spawn(process.execPath, ["dist/cli/main.js", ...args]);
  let output = "";
  child.stdout.on("data", (data) => {
    output += data;
  });
  child.stderr.on("data", (data) => {
    output += data;
  });
  const exit = once(child, "close").then(([code]) => ({ code: code as number, output }));
  return { child, exit };
}

test("the built command runs", async () => {
  const { exit } = start("--help");
  expect(await exit).toMatchObject({ code: 0, output: expect.stringContaining("Usage") });
});

test("Ctrl-C while it waits for a prompt ends it with 130", async () => {
  const { child, exit } = start("generate");
  // More than a pipe holds: it is gone when the command reads.
  child.stdin.write("x".repeat(1 << 20), () => child.kill("SIGINT"));
  expect(await exit).toEqual({ code: 130, output: "" });
});

test("a closed pipe ends it quietly", async () => {
  const { child, exit } = start("--help");
  child.stdout.destroy();
  expect(await exit).toEqual({ code: 0, output: "" });
});
