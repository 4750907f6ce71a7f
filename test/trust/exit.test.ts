/** Processes and threads that end in the middle of a job: cleanly, with the code they were given, without waiting for it. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const CHILD = fileURLToPath(new URL("child.js", import.meta.url));

interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** From "started" to the end, in milliseconds. */
  readonly lasted: number;
}

function run(...args: string[]): Promise<Ending> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CHILD, ...args], { timeout: 120_000 });
    let stdout = "";
    let stderr = "";
    let started = Number.NaN;
    child.stdout.on("data", (data: Buffer) => {
      stdout += data;
      if (Number.isNaN(started) && stdout.includes("started")) started = performance.now();
    });
    child.stderr.on("data", (data: Buffer) => {
      stderr += data;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({ code, signal, stdout, stderr, lasted: performance.now() - started });
    });
  });
}

// The jobs last for many times this; a chunk of one on a busy machine does not.
const SOON = 5000;

describe("a process that exits in the middle of a job", () => {
  it.each(["step", "flush", "evaluate", "load"])(
    "by process.exit during %s ends soon with the code given",
    async (job) => {
      const { code, signal, stderr, stdout, lasted } = await run("exit", job);
      expect({ code, signal, stderr, stdout }).toEqual({
        code: 7,
        signal: null,
        stderr: "",
        stdout: "started\n",
      });
      expect(lasted).toBeLessThan(SOON);
    },
  );

  it.each(["step", "evaluate", "load"])(
    "by an uncaught exception during %s ends soon with code 1",
    async (job) => {
      const { code, signal, stderr, lasted } = await run("uncaught", job);
      expect([code, signal]).toEqual([1, null]);
      expect(stderr).toContain("Error: not caught");
      expect(lasted).toBeLessThan(SOON);
    },
  );

  it("tells stepSync in a handler of 'exit' why nothing is computed", async () => {
    const { code, signal, stdout, stderr } = await run("exithandler");
    expect([code, signal, stderr]).toEqual([0, null, ""]);
    expect(stdout).toMatch(/^ERR_NVIUM_DISPOSED .*exiting.*'exit' handler\.\n$/);
  });

  it("by having nothing else to do waits for the job", async () => {
    const { code, signal, stdout, stderr } = await run("unawaited");
    expect([code, signal, stderr]).toEqual([0, null, ""]);
    expect(stdout).toBe("started\nstepped\n");
  });
});

describe("threads", () => {
  it.each(["step", "load"])(
    "can be terminated during %s, and others go on undisturbed",
    async (job) => {
      const { code, signal, stdout, stderr } = await run("terminate", job);
      expect({ code, signal, stdout, stderr }).toEqual({
        code: 0,
        signal: null,
        stdout: "same tokens\n",
        stderr: "",
      });
    },
  );

  it.each(["step", "flush", "evaluate"])(
    "end soon when they are terminated in the middle of a long %s",
    async (job) => {
      const { code, signal, stdout, stderr, lasted } = await run("terminatelong", job);
      expect([code, signal, stderr, stdout]).toEqual([0, null, "", "started\nterminated\n"]);
      expect(lasted).toBeLessThan(SOON);
    },
  );

  it("that call process.exit in the middle of a step end with the code given", async () => {
    const { code, signal, stdout, stderr } = await run("workerexit");
    expect([code, signal, stderr]).toEqual([0, null, ""]);
    expect(stdout).toContain("worker ended with 7\n");
  });

  it("do not keep the process from exiting while they work", async () => {
    const { code, signal, stderr } = await run("exitabove", "step");
    expect([code, signal, stderr]).toEqual([7, null, ""]);
  });

  it("load the addon at the same time and draw the same tokens", async () => {
    const { code, signal, stdout, stderr } = await run("threads");
    expect([code, signal, stderr]).toEqual([0, null, ""]);
    expect(stdout).toBe("1 kind of tokens, codes 0 0 0 0\n");
  });
});

it("four models at work leave libuv's threads to files", async () => {
  const { code, signal, stdout, stderr } = await run("files");
  expect([code, signal, stderr]).toEqual([0, null, ""]);
  expect(stdout).toBe("read while 4 work\n");
});

it("two copies of the addon in one process draw the same tokens", async () => {
  const { code, signal, stdout, stderr } = await run("copies");
  expect({ code, signal, stdout, stderr }).toEqual({
    code: 0,
    signal: null,
    stdout: "same tokens\n",
    stderr: "",
  });
});
