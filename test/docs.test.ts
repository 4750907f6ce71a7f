/** The documentation's JavaScript examples run, and its links lead somewhere. Needs the built package. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";

const PAGES = [
  "README.md",
  ...readdirSync("docs")
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];

describe.each(PAGES)("%s", (page) => {
  const text = readFileSync(page, "utf8");

  const examples = [...text.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code = ""]) => code);
  test.each(examples.map((code, i) => [i + 1, code] as const))("example %i runs", (_, code) => {
    // From the package's root `nvium` is the package itself.
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-"], {
      input: code,
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });

  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
  test("links to files that are there", () => {
    const local = links.filter((link) => !/^(https?:|#)/.test(link));
    const missing = local.filter(
      (link) => !existsSync(join(dirname(page), link.replace(/#.*/, ""))),
    );
    expect(missing).toEqual([]);
  });
});
