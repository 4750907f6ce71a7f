/** How hard the fuzzers try: a fixed seed and few cases in the tests, others from scripts/fuzz.js. */
import { random } from "../support/random.js";

export const SEED = Number(process.env.NVIUM_FUZZ_SEED ?? 1);
const FACTOR = Number(process.env.NVIUM_FUZZ_FACTOR ?? 1);

/** Calls `attempt` with choices of its own for each case; what fails names the seed and the case. */
export async function fuzz(
  cases: number,
  attempt: (choose: ReturnType<typeof random>, i: number) => unknown,
): Promise<void> {
  for (let i = 0; i < cases * FACTOR; i++) {
    try {
      await attempt(random(Math.imul(SEED, 0x9e3779b1) + i), i);
    } catch (cause) {
      throw new Error(`NVIUM_FUZZ_SEED=${SEED}, case ${i}: ${String(cause)}`, { cause });
    }
  }
}

/** Time for a fuzzer's cases. */
export const TIMEOUT = 60_000 * FACTOR;
