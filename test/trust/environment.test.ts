/** Processes that forbid things, lack things, or are not what they seem. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ownUrl } from "../../lib/binding.js";
import { loadModel } from "../../lib/index.js";
import { failure } from "../support/errors.js";
import { fixture } from "../support/expected.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const ENTRY = join(ROOT, "dist", "index.js");
const ADDON = join(ROOT, "build", "Release", "nvium.node");
const MODEL = fixture("quadrivium-gqa-f32");
const [major = 0] = process.versions.node.split(".").map(Number);
const PERMISSION = major >= 22 ? "--permission" : "--experimental-permission";

interface Place {
  readonly flags?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly directory?: string;
}

/** A script that says what loading a model came to: "loaded", or code and message. */
const loading = (directory: string) => `
  import(${JSON.stringify(ENTRY)}).then(async ({ loadModel }) => {
    const model = await loadModel(${JSON.stringify(directory)}, { threads: 1 });
    await model.dispose();
    console.log("loaded");
  }).catch(({ code, message }) => console.log(code + ": " + message));`;

function load({ flags = [], env = {}, cwd = ROOT, directory = MODEL }: Place): string {
  const { stdout, stderr, signal } = spawnSync(
    process.execPath,
    ["--no-warnings", ...flags, "-e", loading(directory)],
    { cwd, env: { ...process.env, ...env }, encoding: "utf8", timeout: 60_000 },
  );
  expect([stderr, signal]).toEqual(["", null]);
  return stdout.trim();
}

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "nvium-environment-"));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("NVIUM_BINDING", () => {
  it("is relative to the working directory", () => {
    const env = { NVIUM_BINDING: relative(scratch, ADDON) };
    expect(load({ cwd: scratch, env })).toBe("loaded");
  });

  it("naming a file that is not there says so, and nothing of building", () => {
    const failed = load({ env: { NVIUM_BINDING: "/nowhere/x.node" } });
    expect(failed).toMatch(/^ERR_NVIUM_BINDING: .*a file that is not there, \/nowhere\/x\.node\.$/);
  });

  it("naming what is no addon gives the system's reason", () => {
    const file = join(scratch, "text.node");
    writeFileSync(file, "no addon");
    const failed = load({ env: { NVIUM_BINDING: file } });
    expect(failed).toMatch(/^ERR_NVIUM_BINDING: .*text\.node: .*(invalid ELF|too short|not a )/);
  });
});

describe("a process that forbids", () => {
  it.each([["--no-addons"], [PERMISSION, `--allow-fs-read=${ROOT}`]])(
    "addons, by %s, is told so, and nothing of building",
    (...flags) => {
      const failed = load({ flags });
      expect(failed).toMatch(/^ERR_NVIUM_BINDING: .*addons are disabled in this process/);
      expect(failed).not.toContain("rebuild");
    },
  );

  it("reading everything but the package and the model loads it", () => {
    expect(load({ flags: [PERMISSION, "--allow-addons", `--allow-fs-read=${ROOT}`] })).toBe(
      "loaded",
    );
  });
});

describe("a working directory that is gone", () => {
  // Node.js keeps the directory in mind: it must be gone before the process begins.
  const gone = ({ directory = MODEL, env = {} }: Place) => {
    const cwd = mkdtempSync(join(scratch, "gone-"));
    const script = join(scratch, "load.mjs");
    writeFileSync(script, loading(directory));
    const command = `cd "${cwd}" && rmdir "${cwd}" && exec "${process.execPath}" "${script}"`;
    const { stdout, stderr, signal } = spawnSync("sh", ["-c", command], {
      env: { ...process.env, ...env },
      encoding: "utf8",
      timeout: 60_000,
    });
    expect([stderr, signal]).toEqual(["", null]);
    return stdout.trim();
  };

  it("does not matter to absolute paths", () => {
    expect(gone({})).toBe("loaded");
  });

  it("is the reason given for relative ones", () => {
    expect(gone({ directory: "models/demo" })).toMatch(
      /^ERR_NVIUM_IO: models\/demo is relative to the working directory, which is gone/,
    );
    expect(gone({ env: { NVIUM_BINDING: "./nvium.node" } })).toMatch(
      /^ERR_NVIUM_BINDING: .*NVIUM_BINDING is relative to the working directory, which is gone/,
    );
  });
});

describe("another realm", () => {
  it("has its own errors, the signals' reasons, and listens to the real process", () => {
    const script = fileURLToPath(new URL("realm.js", import.meta.url));
    const flags = ["--experimental-vm-modules", "--no-warnings"];
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      [...flags, script, ENTRY, MODEL],
      { encoding: "utf8", timeout: 60_000 },
    );
    expect({ stdout, stderr, status }).toEqual({ stdout: "", stderr: "", status: 0 });
  });

  it("may give a signal of its own class", async () => {
    const { signal, abort } = foreignSignal();
    const loading = loadModel(MODEL, { signal, threads: 1 });
    abort("enough");
    await expect(loading).rejects.toBe("enough");
    const model = await loadModel(MODEL, { threads: 1 });
    const session = model.createSession();
    session.append([1]);
    await expect(session.step({ signal })).rejects.toBe("enough");
    await model.dispose();
  });
});

describe("a module of a bundle", () => {
  it("in CommonJS is told to be left out", async () => {
    const { message } = await failure("ERR_NVIUM_BINDING", () => ownUrl(undefined));
    expect(message).toContain("--external:nvium");
  });
});

/** An AbortSignal as another implementation has it. */
function foreignSignal() {
  const target = new EventTarget();
  let reason: unknown;
  const signal = Object.assign(target, {
    aborted: false,
    reason,
    onabort: null,
    throwIfAborted() {
      if (signal.aborted) throw signal.reason;
    },
  });
  return {
    signal: signal as AbortSignal,
    abort(why: unknown) {
      Object.assign(signal, { aborted: true, reason: why });
      target.dispatchEvent(new Event("abort"));
    },
  };
}
