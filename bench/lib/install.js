/** Dependencies of the benchmarks, installed when a benchmark first needs them. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/**
 * @param {string} directory with a package.json
 * @param {string} needed a package that is there once this has run
 * @param {{ arguments?: readonly string[], environment?: NodeJS.ProcessEnv }} [more] for npm
 */
export function install(directory, needed, more = {}) {
  if (existsSync(join(directory, "node_modules", needed))) return;
  console.error(`Installing ${needed} for this benchmark.`);
  const { arguments: extra = [], environment } = more;
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock", ...extra], {
    cwd: directory,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, ...environment },
  });
}
