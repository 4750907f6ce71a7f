/** What ends a generation from outside: the caller's signal, the time it has, and whoever leaves it. */
import { setMaxListeners } from "node:events";

/** Passed on as a signal's reason, and told apart from the caller's own by identity. */
export const TIME = new Error("The time is over.");
export const LEFT = new Error("The generation was left.");

/** Over when `close` is called. */
export interface Ending {
  /** Aborted with TIME, with LEFT, or with the reason of the caller's signal. */
  readonly signal: AbortSignal;
  leave(): void;
  /** Lets go of the caller's signal and of the clock. */
  close(): void;
}

/** `milliseconds` from now on; undefined is no limit. Throws the reason of a signal that is aborted already. */
export function createEnding(
  signal: AbortSignal | undefined,
  milliseconds: number | undefined,
): Ending {
  signal?.throwIfAborted();
  const controller = new AbortController();
  // Each of many sequences listens.
  setMaxListeners(0, controller.signal);
  // Not AbortSignal.any(): the caller's signal may be of another realm.
  const onAbort = () => controller.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  const end = () => controller.abort(TIME);
  const timer = milliseconds === undefined ? undefined : setTimeout(end, milliseconds);
  return {
    signal: controller.signal,
    leave: () => controller.abort(LEFT),
    close() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    },
  };
}
