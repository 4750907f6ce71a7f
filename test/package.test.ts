/** The package as a stranger has it: installed somewhere else. Needs the built package; `npm run release:package` packs it too. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "nvium-installed-"));
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(resolve("."), join(folder, "node_modules", "nvium"));
  symlinkSync(resolve("node_modules", "@types"), join(folder, "node_modules", "@types"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

const readme = readFileSync("README.md", "utf8");

test("the README's first program runs as it stands", () => {
  const [, program = ""] = /^```js\n(.*?)^```$/ms.exec(readme) ?? [];
  writeFileSync(join(folder, "story.mjs"), program);
  const { status, stdout, stderr } = run("story.mjs");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout.length).toBeGreaterThan(50);
});

test("require gives the same names", async () => {
  writeFileSync(
    join(folder, "names.cjs"),
    'console.log(JSON.stringify(Object.keys(require("nvium")).sort()))',
  );
  const { stdout } = run("--no-warnings", "names.cjs");
  expect(JSON.parse(stdout)).toEqual(Object.keys(await import("../lib/index.js")).sort());
});

describe.each(["node16", "nodenext"])("types under %s", (module) => {
  test.each([
    ["ESM", "program.mts"],
    ["CommonJS", "program.cts"],
  ])("are there for %s", (_, name) => {
    const program = `
import { demo, getDevices, loadModel, NviumError, type Generation, type Model, type Stats } from "nvium";
export async function main(): Promise<Stats> {
  const model: Model = await loadModel(demo, { threads: 1 });
  const generation: Generation = model.generate("a");
  const failed = (error: unknown): error is NviumError => error instanceof NviumError;
  // @ts-expect-error there is no such option
  model.generate("a", { topP: 1 });
  console.log(failed(1), getDevices().cuda.reason, (await generation).seed + 1n);
  return (await generation).stats;
}
`;
    writeFileSync(join(folder, name), program);
    const tsc = resolve("node_modules", "typescript", "bin", "tsc");
    const { status, stdout } = run(
      ...[tsc, "--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,esnext.disposable"],
      ...["--module", module, "--types", "node", "--skipLibCheck", "false", name],
    );
    expect({ status, stdout }).toEqual({ status: 0, stdout: "" });
  });
});

test("what the README links to is in the package", () => {
  const packed = spawnSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    encoding: "utf8",
  });
  const [{ files }] = JSON.parse(packed.stdout) as [{ files: { path: string }[] }];
  const paths = new Set(files.map(({ path }) => path));
  const links = [...readme.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)].map(([, target = ""]) => target);
  const local = links.filter((link) => !/^https?:/.test(link));
  expect(local.length).toBeGreaterThan(5);
  expect(local.filter((link) => !paths.has(link))).toEqual([]);
  // Nothing else comes with them.
  const tests = [...paths].filter((path) => path.startsWith("test/"));
  expect(tests.sort()).toEqual(["test/demo/README.md", "test/fixtures/README.md"]);
  expect(paths).toContain("CMakeLists.txt");
});
