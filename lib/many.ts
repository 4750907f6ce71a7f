/** Several results: one by one as they come, or all in order. */
import { NviumError } from "./errors.js";

/**
 * Iterated (once) it gives each result as it is ready; awaited, all of them in order. The first failure ends both. Leaving
 * the loop ends the work; awaited after that it gives what had been ready.
 */
export interface Many<T> extends AsyncIterable<T>, PromiseLike<T[]> {
  /** The same as awaiting it. */
  results(): Promise<T[]>;
}

/** `source` begins when the first result is asked for; `order` is less than 0 where the first argument comes first. */
export function createMany<T>(
  source: () => AsyncGenerator<T, void, undefined>,
  order: (a: T, b: T) => number,
): Many<T> {
  let begun = false;
  let settle: { resolve(results: T[]): void; reject(reason: unknown): void } | undefined;
  const outcome = new Promise<T[]>((resolve, reject) => {
    settle = { resolve, reject };
  });
  // Who only iterates gets errors from the loop.
  outcome.catch(() => undefined);

  async function* iterate(): AsyncGenerator<T, void, undefined> {
    if (begun) throw new NviumError("ERR_NVIUM_BUSY", "These results can be iterated once.");
    begun = true;
    const ready: T[] = [];
    try {
      for await (const result of source()) {
        ready.push(result);
        yield result;
      }
    } catch (reason) {
      settle?.reject(reason);
      throw reason;
    } finally {
      settle?.resolve(ready.sort(order));
    }
  }

  const results = async () => {
    if (!begun) for await (const _ of iterate());
    return outcome;
  };
  return {
    [Symbol.asyncIterator]: iterate,
    results,
    // biome-ignore lint/suspicious/noThenProperty: the results are awaited
    then: (resolved, rejected) => results().then(resolved, rejected),
  };
}

/**
 * Results of tasks as they end, tasks begun in their order while the weights of those under way come to `most`; one alone may
 * weigh more. When the loop is left or a task fails, `stop` is called and those under way are waited for.
 */
export async function* asTheyEnd<T>(
  tasks: Iterable<{ readonly weight: number; run(emit: (result: T) => void): Promise<void> }>,
  most: number,
  stop: () => void,
): AsyncGenerator<T, void, undefined> {
  const waiting = [...tasks];
  const underWay = new Set<Promise<void>>();
  const ready: T[] = [];
  let weight = 0;
  let failure: { readonly reason: unknown } | undefined;
  let wake: () => void = () => undefined;
  const begin = () => {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      if (underWay.size > 0 && weight + next.weight > most) return;
      waiting.shift();
      const task = next;
      weight += task.weight;
      const done = task
        .run((result) => {
          ready.push(result);
          wake();
        })
        .catch((reason: unknown) => {
          failure ??= { reason };
        })
        .finally(() => {
          weight -= task.weight;
          underWay.delete(done);
          wake();
        });
      underWay.add(done);
    }
  };
  try {
    for (;;) {
      if (failure !== undefined) throw failure.reason;
      const result = ready.shift();
      if (result !== undefined) {
        yield result;
        continue;
      }
      begin();
      if (underWay.size === 0) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    stop();
    await Promise.all(underWay);
  }
}
