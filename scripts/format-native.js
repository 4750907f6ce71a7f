// Formats the C++ and CUDA sources with the pinned clang-format; with --check only says what differs (exit code 1).
import { execFileSync, spawnSync } from "node:child_process";
import { createRequire } from "node:module";

const check = process.argv.includes("--check");
const files = execFileSync(
  "git",
  ["ls-files", "native", "cuda", "test/native", "test/simt", "test/cuda", "bench", "scripts"],
  {
    encoding: "utf8",
  },
)
  .split("\n")
  .filter((file) => /\.(cc|cpp|h|cu|cuh)$/.test(file));
const program = createRequire(import.meta.url).resolve("clang-format/index.js");
const mode = check ? ["--dry-run", "--Werror"] : ["-i"];
const { status } = spawnSync(process.execPath, [program, ...mode, ...files], { stdio: "inherit" });
process.exitCode = status ?? 1;
