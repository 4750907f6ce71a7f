/** Reproducible choices for tests. */
export interface Random {
  /** A whole number in [0, n). */
  below(n: number): number;
  pick<T>(values: readonly T[]): T;
  /** True once in `n` times. */
  once(n: number): boolean;
}

export function random(seed: number): Random {
  let state = seed >>> 0;
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number) => Math.floor(next() * n);
  return {
    below,
    pick: (values) => {
      if (values.length === 0) throw new RangeError("Nothing to pick from");
      return values[below(values.length)] as (typeof values)[number];
    },
    once: (n) => below(n) === 0,
  };
}
