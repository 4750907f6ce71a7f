/** Runs tasks one after another, in the order they were asked for. */
export interface Queue {
  /** Whether a task runs or waits. */
  readonly busy: boolean;
  run<T>(task: () => Promise<T>): Promise<T>;
  /** Resolves when everything asked for so far has ended, however it ended. */
  idle(): Promise<void>;
}

export function createQueue(): Queue {
  let tail: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return {
    get busy() {
      return waiting > 0;
    },
    async run(task) {
      waiting++;
      const before = tail;
      const result = before.then(task);
      // The next task waits for this one, whether it succeeds or not.
      tail = result.catch(() => undefined);
      try {
        return await result;
      } finally {
        waiting--;
      }
    },
    idle: async () => {
      await tail;
    },
  };
}

/** Calls `work` with a word that turns to 1 when the signal fires. An abort before the start does no work. */
export async function abortable<T>(
  signal: AbortSignal | undefined,
  work: (abort: Int32Array<ArrayBuffer>) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const abort = new Int32Array(1);
  const onAbort = () => Atomics.store(abort, 0, 1);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await work(abort);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}
