/** The benchmarks in C++: built into build/bench, run, their JSON read. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "./paths.js";

const BUILD = join(ROOT, "build", "bench");

export function buildNative() {
  const options = ["BUILD_TYPE=Release", "NVIUM_ADDON=OFF", "NVIUM_TESTS=OFF", "NVIUM_BENCH=ON"];
  const flags = options.map((o) => (o.startsWith("NVIUM") ? `-D${o}` : `-DCMAKE_${o}`));
  const quiet = { stdio: ["ignore", "ignore", "inherit"] };
  execFileSync("cmake", ["-S", ROOT, "-B", BUILD, ...flags], quiet);
  execFileSync("cmake", ["--build", BUILD, "-j", "2"], quiet);
}

/** Runs a program, which prints its own table. @param {"decode" | "kernels"} program @param {readonly (string | number)[]} args */
export function runNative(program, args) {
  const directory = mkdtempSync(join(tmpdir(), "nvium-bench-"));
  const file = join(directory, "result.json");
  try {
    execFileSync(join(BUILD, `bench_${program}`), [...args.map(String), "--json", file], {
      stdio: "inherit",
    });
    return JSON.parse(readFileSync(file, "utf8"));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
