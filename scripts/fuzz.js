// The fuzzers of test/fuzz without end: `node scripts/fuzz.js [seed] [fuzzer]`, ten times the cases of a test at each
// seed, from the one given (or a random one) on. Stops at the first finding and says how to come back to it.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const FACTOR = "10";
const [, , given = String(Date.now() % 1_000_000), fuzzer = ""] = process.argv;
const vitest = join(
  dirname(createRequire(import.meta.url).resolve("vitest/package.json")),
  "vitest.mjs",
);

for (let seed = Number(given); ; seed++) {
  if (!Number.isSafeInteger(seed))
    throw new RangeError(`The seed must be a whole number: ${given}`);
  process.stdout.write(`seed ${seed}\n`);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [vitest, "run", `test/fuzz/${fuzzer}`, "--reporter=dot"],
    {
      encoding: "utf8",
      env: { ...process.env, NVIUM_FUZZ_SEED: String(seed), NVIUM_FUZZ_FACTOR: FACTOR },
    },
  );
  if (status === 0) continue;
  process.stdout.write(stdout + stderr);
  process.stdout.write(`\nAgain: node scripts/fuzz.js ${seed} ${fuzzer}\n`);
  process.exitCode = 1;
  break;
}
