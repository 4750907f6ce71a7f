/**
 * What both programs do, each in a process of its own that measures on request. A contestant is
 *
 *   decode(tokens)   seconds for that many one-row steps, somewhere between 128 and 1024 positions
 *   rows(k)          seconds for k rows at once behind 128 positions, the last one's logits computed
 *   prompt(length)   seconds for so many rows from the start, the last one's logits computed
 */

export const CONTEXT = 128;
export const MOST = 1024;

/** @param {number} position */
export const token = (position) => 300 + ((position * 7919) % 200);

/** Answers the parent's requests. @param {Record<string, (argument: number) => Promise<number>>} contestant */
export function serve(contestant) {
  process.on("message", async ([what, argument]) => {
    process.send?.(await contestant[what](argument));
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.("ready");
}

/** @param {() => Promise<unknown>} work */
export async function seconds(work) {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1e3;
}
