/** Pearson's chi-square test over bins of about equal expected mass; the same as test/native/law/statistics.h. */

/** A law is refused where such a deviation, or a larger one, would turn up once in a million. */
export const ALPHA = 1e-6;

/** log Γ(x) for x > 0, by Stirling's series. */
function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  for (; z < 10; z++) shift += Math.log(z);
  const s = 1 / (z * z);
  const series = (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / z;
  return (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series - shift;
}

/** The probability that a chi-square variable of `freedom` degrees exceeds x: series, or continued fraction (Lentz). */
export function chiSquareTail(x: number, freedom: number): number {
  const a = freedom / 2;
  const z = x / 2;
  if (!(z > 0)) return 1;
  const factor = Math.exp(a * Math.log(z) - z - logGamma(a));
  if (z < a + 1) {
    let term = 1 / a;
    let sum = term;
    for (let n = a + 1; term > sum * 1e-16; n++) {
      term *= z / n;
      sum += term;
    }
    return 1 - factor * sum;
  }
  let b = z + 1 - a;
  let c = 1e300;
  let d = 1 / b;
  let h = d;
  for (let i = 1; i < 10_000; i++) {
    const an = -i * (i - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-15) break;
  }
  return factor * h;
}

export interface Bins {
  /** The bin of each cell. */
  readonly of: Int32Array;
  /** The expected mass of each bin. */
  readonly mass: readonly number[];
}

/**
 * Bins for a law's cells. Cells of one group go by probability, the largest first, into bins of at least 1 / `bins` of all;
 * what is left of a group makes a bin of its own, or joins the bin before where it is very little.
 */
export function binsOf(
  law: Float64Array,
  bins: number,
  groupOf: (cell: number) => number = () => 0,
): Bins {
  const group = Int32Array.from(law, (_, cell) => groupOf(cell));
  const at = (values: Float64Array | Int32Array, i: number) => values[i] as number;
  const order = Array.from(law.keys()).sort(
    (a, b) => at(group, a) - at(group, b) || at(law, b) - at(law, a) || a - b,
  );
  const whole = law.reduce((sum, p) => sum + p, 0) / bins;
  const left = new Map<number, number>();
  for (const cell of order)
    left.set(at(group, cell), (left.get(at(group, cell)) ?? 0) + at(law, cell));
  const of = new Int32Array(law.length);
  const mass: number[] = [];
  for (let i = 0; i < order.length; ) {
    const begin = i;
    const here = at(group, order[begin] as number);
    let rest = left.get(here) as number;
    let sum = 0;
    // What is too little for another bin is taken into this one.
    while (
      i < order.length &&
      at(group, order[i] as number) === here &&
      (sum < whole || rest < whole)
    ) {
      sum += at(law, order[i] as number);
      rest -= at(law, order[i] as number);
      i++;
    }
    left.set(here, rest);
    if (mass.length === 0 || sum >= whole / 10) mass.push(0);
    for (const cell of order.slice(begin, i)) of[cell] = mass.length - 1;
    mass[mass.length - 1] = (mass.at(-1) as number) + sum;
  }
  return { of, mass };
}

/** The p-value of the cells drawn. */
export function pValue(bins: Bins, cells: Iterable<number>): number {
  const counts = new Float64Array(bins.mass.length);
  let draws = 0;
  for (const cell of cells) {
    const bin = bins.of[cell] as number;
    counts[bin] = (counts[bin] as number) + 1;
    draws++;
  }
  const total = bins.mass.reduce((sum, p) => sum + p, 0);
  let x = 0;
  for (const [bin, mass] of bins.mass.entries()) {
    const expected = (draws * mass) / total;
    x += ((counts[bin] as number) - expected) ** 2 / expected;
  }
  return chiSquareTail(x, bins.mass.length - 1);
}
