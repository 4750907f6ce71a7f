/**
 * The sampler written again from docs/numerics.md, in doubles, over laws from `evaluate()`; and wrong on purpose, to show
 * that the tests of the law notice.
 */
import { exitProbsAt, jointLaw, type Law, type Outcome, type Temperatures } from "./laws.js";

export type Mutant =
  /** The key holds no position: every token gets the same noise. */
  | "no position"
  /** The uniform that chose the exit chooses the token too, by inversion. */
  | "one uniform"
  /** The temperature divides logit and noise: it is without effect. */
  | "noise divided"
  /** The temperature acts on the mixture, not on the exit reached. */
  | "temperature on the mixture"
  /** The head's temperature divides the routers' logits as well. */
  | "temperature on the routers";

export interface Key {
  readonly seed: number;
  readonly stream: number;
  readonly position: number;
}

const CASCADE = 0;
const TOKEN = 1;

function multiplyHigh(a: number, b: number): number {
  const low = (a & 0xffff) * b;
  const high = (a >>> 16) * b + Math.floor(low / 65536);
  return Math.floor(high / 65536) >>> 0;
}

/** Philox4x32-10 of the counter (block, purpose, position, stream). */
export function words(key: Key, purpose: number, block: number): [number, number, number, number] {
  let [c0, c1, c2, c3] = [block, purpose, key.position, key.stream];
  let k0 = key.seed >>> 0;
  let k1 = Math.floor(key.seed / 2 ** 32) >>> 0;
  for (let round = 0; round < 10; round++) {
    const [h0, h2] = [multiplyHigh(0xd2511f53, c0), multiplyHigh(0xcd9e8d57, c2)];
    const [l0, l2] = [Math.imul(0xd2511f53, c0) >>> 0, Math.imul(0xcd9e8d57, c2) >>> 0];
    [c0, c1, c2, c3] = [(h2 ^ c1 ^ k0) >>> 0, l2, (h0 ^ c3 ^ k1) >>> 0, l0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

export function createSampler(mutant?: Mutant, { temperature = 1 }: Temperatures = {}) {
  const routerTemperature = mutant === "temperature on the routers" ? temperature : 1;

  const joints = new Map<Law, Float64Array>();

  /** The smallest index at which the sum of the weights passes u times their total. */
  function inverse(weights: Float64Array, u: number): number {
    let left = u * weights.reduce((a, b) => a + b);
    const index = weights.findIndex((weight) => {
      left -= weight;
      return left < 0;
    });
    return index < 0 ? weights.length - 1 : index;
  }

  return (law: Law, given: Key): Outcome => {
    const key = mutant === "no position" ? { ...given, position: 0 } : given;
    const [x] = words(key, CASCADE, 0);
    // It leaves at the first exit with x >= R_k 2^32.
    const exitProbs = exitProbsAt(law, routerTemperature);
    let remaining = 1;
    let exit = 0;
    for (; exit < law.exits - 1; exit++) {
      remaining -= exitProbs[exit] as number;
      if (x >= Math.floor(remaining * 2 ** 32)) break;
    }
    if (mutant === "one uniform") {
      const joint = joints.get(law) ?? jointLaw(law);
      joints.set(law, joint);
      const own = joint.subarray(exit * law.vocab, (exit + 1) * law.vocab);
      return { exit: exit + 1, token: inverse(own, x / 2 ** 32) };
    }
    const logits = law.logits[exit] as Float32Array;
    let best = Number.NEGATIVE_INFINITY;
    let token = 0;
    for (let block = 0; block * 4 < law.vocab; block++) {
      for (const [i, word] of words(key, TOKEN, block).entries()) {
        const v = 4 * block + i;
        if (v >= law.vocab) break;
        const noise = -Math.log(-Math.log1p(-(word + 0.5) / 2 ** 32));
        const logit =
          mutant === "temperature on the mixture"
            ? Math.log(law.mixture[v] as number)
            : (logits[v] as number);
        const score =
          mutant === "noise divided" ? (logit + noise) / temperature : logit / temperature + noise;
        if (score > best) [best, token] = [score, v];
      }
    }
    return { exit: exit + 1, token };
  };
}
