/** Memory that runs out anywhere in the addon, through the whole of the package: linux only, for it preloads a library. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixture } from "../support/expected.js";

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

describe.runIf(process.platform === "linux")("when memory runs out", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "nvium-memory-"));
    const library = join(directory, "failing.so");
    execFileSync("gcc", ["-shared", "-fPIC", "-O1", "-o", library, here("failing.c"), "-ldl"]);
    writeFileSync(join(directory, "orders"), Buffer.alloc(4096, 0xff));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** A script over the built package, with memory as it is told through the orders. */
  function run(script: string): unknown {
    const { status, signal, stderr, stdout } = spawnSync(
      process.execPath,
      [here(script), fixture("quadrivium-gqa-f32")],
      {
        env: {
          ...process.env,
          LD_PRELOAD: join(directory, "failing.so"),
          NVIUM_ORDERS: join(directory, "orders"),
        },
        encoding: "utf8",
        timeout: 150_000,
      },
    );
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: "" });
    return JSON.parse(stdout);
  }

  it("every request of the addon is refused once: typed errors, nothing lost, the same tokens", () => {
    const found = run("no-memory.js") as Record<string, { refused: number; failed: number }>;
    for (const [what, { refused, failed }] of Object.entries(found)) {
      expect(refused, what).toBeGreaterThan(20);
      // Each refusal is felt, or the test would not reach what it is about. What is refused to several sequences at once is
      // tried again for fewer, so that there only those that last are.
      if (what === "other") expect(failed).toBeGreaterThan(refused / 3);
      else expect(failed, what).toBe(refused);
    }
  }, 160_000);

  it("for good, beyond a limit: calls that need more leave nothing, and others go on", () => {
    // Four kinds of call, three limits, twice each; and a session from before and one from afterwards.
    expect(run("limited.js")).toEqual({ failed: 24, same: 24 });
  }, 160_000);
});
