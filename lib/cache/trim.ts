/**
 * When a model gives memory back that no block in use lies in: at once behind a call that failed, else a second or so
 * after it was last of use, so that calls that follow one another do not make it anew each time.
 */
import { clearTimeout, setTimeout } from "node:timers";

/** What is looked at, and what is done. */
export interface Trimmed {
  /** Whether a call is under way or waits. */
  readonly busy: boolean;
  /** Blocks in use. */
  readonly used: number;
  /** Grows whenever a block is taken or becomes free. */
  readonly changes: number;
  /** Gives back what is free now; nothing where a call has begun in the meantime. */
  trim(): Promise<void>;
}

export interface Trimmer {
  /** A block became free. */
  soon(): void;
  now(): Promise<void>;
  /** No more; resolves when what is under way has ended. */
  stop(): Promise<void>;
}

const LOOK_MS = 1000;

export function createTrimmer(model: Trimmed): Trimmer {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  let underWay: Promise<void> = Promise.resolve();
  let changes = 0;
  /** Most blocks in use since memory was last given back, and since the last look. */
  let most = 0;
  let mostLately = 0;

  function soon(): void {
    mostLately = Math.max(mostLately, model.used + 1);
    if (stopped || timer !== undefined) return;
    changes = model.changes;
    timer = setTimeout(look, LOOK_MS);
    // A process that has nothing else to do ends.
    timer.unref();
  }

  function look(): void {
    timer = undefined;
    most = Math.max(most, mostLately);
    const quiet = !model.busy && model.changes === changes;
    // A model that never rests gives back what it has long not come near.
    const enough = quiet || 2 * Math.max(mostLately, model.used) <= most;
    mostLately = 0;
    if (enough) void now();
    else soon();
  }

  async function now(): Promise<void> {
    if (stopped) return;
    most = model.used;
    // Memory that cannot be given back is no failure of the call behind which that was tried.
    underWay = model.trim().catch(() => undefined);
    await underWay;
  }

  return {
    soon,
    now,
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await underWay;
    },
  };
}
