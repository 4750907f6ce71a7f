/** Numbers about numbers. */

/** @param {Iterable<number>} values @param {number} p from 0 to 1 */
export function quantile(values, p) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN;
}

/** @param {Iterable<number>} values */
export const median = (values) => quantile(values, 0.5);

/** @param {readonly number[]} values */
export const sum = (values) => values.reduce((total, value) => total + value, 0);

/** @param {readonly number[]} values */
export const mean = (values) => sum(values) / values.length;

/** Begins elsewhere each round, so that nobody is always first. @template T @param {readonly T[]} list @param {number} round @returns {T[]} */
export function rotated(list, round) {
  const begin = round % Math.max(list.length, 1);
  return [...list.slice(begin), ...list.slice(0, begin)];
}

/** Seconds that work takes, and what it gives. @template T @param {() => Promise<T> | T} work */
export async function timed(work) {
  const begin = performance.now();
  const value = await work();
  return { seconds: (performance.now() - begin) / 1e3, value };
}
