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
