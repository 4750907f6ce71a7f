/** Dependencies of the benchmarks, installed when a benchmark first needs them. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** @param {string} directory with a package.json @param {string} needed a package of it @param {NodeJS.ProcessEnv} [environment] */
export function install(directory, needed, environment = {}) {
  if (existsSync(join(directory, "node_modules", needed))) return;
  console.error(`Installing ${needed} for this benchmark.`);
  execFileSync("npm", ["install", "--no-audit", "--no-fund", "--no-package-lock"], {
    cwd: directory,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, ...environment },
  });
}
