// scripts/gpu.sh over programs that stand in for those of a GPU: whatever they do, it writes one whole file that says so.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";

interface Step {
  name: string;
  result: string;
  reason: string;
}
interface Result {
  finished: boolean;
  exitStatus: number | null;
  failed: string[];
  steps: Step[];
  device: { name?: string; missing?: string };
  comparisons: Record<string, { result: string; passed: string[]; failed: string[] }>;
  kernels: Record<string, { part?: string; missing?: string }>;
  decoding: { part?: string; missing?: string };
  torch: object;
  sanitizer: Record<string, { result: string; details: string[] }>;
  commit: object;
  machine: { processors: number };
  date: string;
}

const root = mkdtempSync(join(tmpdir(), "nvium-gpu-"));
afterAll(() => rmSync(root, { recursive: true }));

const bench = `[ "$1" = device ] && echo '{"name": "a device"}' >"$3" || printf '{"part": "%s"}' "$1" >"$3"`;
const comparison = String.raw`[ "$1" = --list ] && { echo one; exit; }; echo 'ok   one'; echo 'note "quoted" \ back'; echo '1 passed, 0 failed'`;
let folders = 0;

function run(
  programs: Record<string, string>,
  seconds = 60,
  steps?: string,
): { status: number | null; result: Result; folder: string } {
  const folder = join(root, String(folders++));
  mkdirSync(folder);
  const all = {
    gpu_bench_emulated: bench,
    cuda_operations_test: comparison,
    cuda_boundary_test: comparison,
    cuda_model_test: comparison,
    cuda_shapes_test: comparison,
    ...programs,
  };
  for (const [name, text] of Object.entries(all)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  const file = join(folder, "result.json");
  const { status } = spawnSync("scripts/gpu.sh", ["--emulated", folder, file], {
    env: {
      ...process.env,
      NVIUM_GPU_SECONDS: String(seconds),
      ...(steps === undefined ? {} : { NVIUM_GPU_STEPS: steps }),
    },
    stdio: "ignore",
  });
  return { status, result: JSON.parse(readFileSync(file, "utf8")) as Result, folder };
}

const step = (result: Result, name: string) => result.steps.find((one) => one.name === name);

test("all sections of a run without failures", () => {
  const { status, result, folder } = run({});
  expect(status).toBe(0);
  expect(result).toMatchObject({ finished: true, exitStatus: 0, failed: [] });
  expect(result.device.name).toBe("a device");
  expect(Object.keys(result.comparisons)).toEqual([
    "operations",
    "operations for 4 processors",
    "boundary",
    "model",
    "shapes",
  ]);
  expect(result.comparisons.model).toEqual({
    result: "passed",
    passed: ["one"],
    failed: [],
    details: [],
    notes: ['"quoted" \\ back'],
  });
  const logs = spawnSync("tar", ["-tzf", join(folder, "result.logs.tar.gz")], { encoding: "utf8" });
  expect(logs.stdout).toContain("steps/compare_boundary.log");
  expect(Object.values(result.kernels).map(({ part }) => part)).toEqual([
    "products",
    "attention",
    "exits",
  ]);
  expect(result.decoding.part).toBe("decode");
  expect(result.machine.processors).toBeGreaterThan(0);
  expect(Date.parse(result.date)).toBeGreaterThan(0);
  for (const section of ["torch", "sanitizer", "commit"] as const)
    expect(result[section]).toBeTypeOf("object");
});

test("every tool of compute-sanitizer over both programs", () => {
  const summary = "echo '========= ERROR SUMMARY: 0 errors'";
  const { status, result } = run({
    "compute-sanitizer": `case "$2 $5" in "racecheck "*model_test) exit 1 ;; esac; shift 4; "$@"; ${summary}`,
  });
  expect(status).toBe(1);
  expect(result.failed).toEqual(["racecheck model"]);
  const tools = ["memcheck", "racecheck", "synccheck", "initcheck"];
  expect(Object.keys(result.sanitizer)).toEqual(
    tools.flatMap((tool) => [`${tool} operations`, `${tool} model`]),
  );
  expect(result.sanitizer["memcheck model"]).toMatchObject({
    result: "passed",
    passed: ["one"],
    details: ["========= ERROR SUMMARY: 0 errors"],
  });
});

test("a comparison that fails is named, what did not pass runs again by itself, and the rest still runs", () => {
  // The second test loses the device, which fails the third where it comes after it.
  const { status, result } = run({
    cuda_model_test: `case $1 in
      --list) printf 'one\\ntwo\\nthree\\n' ;;
      =three) echo 'ok   three' ;;
      =two) echo 'FAIL two'; exit 1 ;;
      "") echo 'ok   one'; echo '  model: 3 bytes differ'; echo 'FAIL two'; echo 'FAIL three'; exit 1 ;;
      *) exit 9 ;;
    esac`,
  });
  expect(status).toBe(1);
  expect(result).toMatchObject({
    finished: true,
    exitStatus: 1,
    failed: ["compare model", "compare model, two alone"],
  });
  expect(Object.keys(result.comparisons).filter((name) => name.endsWith("alone"))).toEqual([
    "model, two alone",
    "model, three alone",
  ]);
  expect(result.comparisons.model).toMatchObject({
    result: "failed",
    failed: ["two", "three"],
    details: ["model: 3 bytes differ"],
  });
  expect(result.decoding.part).toBe("decode");
});

test("a part that dies or hangs leaves the others", () => {
  const { status, result } = run(
    {
      gpu_bench_emulated: `case $1 in products) kill -SEGV $$ ;; exits) sleep 60 ;; *) ${bench} ;; esac`,
    },
    6,
  );
  expect(status).toBe(1);
  expect(result.failed).toEqual(expect.arrayContaining(["products", "exits"]));
  expect(result.kernels.products?.missing).toMatch(/^failed, /);
  expect(result.kernels.attention?.part).toBe("attention");
  expect(result.decoding.part).toBe("decode");
  expect(step(result, "exits")?.result).toBe("timed out");
  expect(result.kernels.exits?.missing).toMatch(/^timed out, /);
});

test("steps that are not asked for are left out", () => {
  const { status, result } = run({}, 60, "compare products");
  expect(status).toBe(0);
  expect(result.comparisons.model?.result).toBe("passed");
  expect(result.kernels.products?.part).toBe("products");
  expect(result.kernels.attention).toBeUndefined();
  expect(result.decoding.missing).toBe("not asked for");
  expect(result.torch).toEqual({ missing: "not asked for" });
});

test("a step that does not exist is refused before anything runs", () => {
  const file = join(root, "never.json");
  const { status } = spawnSync("scripts/gpu.sh", [file], {
    env: { ...process.env, NVIUM_GPU_STEPS: "compare prodcuts" },
    stdio: "ignore",
  });
  expect(status).toBe(2);
  expect(existsSync(file)).toBe(false);
});

test("where there is no device every section says so", () => {
  const { status, result } = run({
    gpu_bench_emulated: `echo '{"missing": "no driver"}' >"$3"; exit 3`,
  });
  expect(status).toBe(3);
  expect(result).toMatchObject({
    finished: true,
    exitStatus: 3,
    failed: [],
    device: { missing: "no driver" },
  });
  for (const section of ["comparisons", "kernels", "decoding", "torch", "sanitizer"] as const) {
    expect(result[section]).toEqual({ missing: "no device" });
  }
});

test("a device that cannot be asked ends the run", () => {
  const { status, result } = run({ gpu_bench_emulated: "exit 1" });
  expect(status).toBe(1);
  expect(result.failed).toEqual(["device"]);
  expect(result.decoding.missing).toBe("it was not reached");
});
