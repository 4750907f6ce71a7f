/** What a session's tokens cost. */
import type { ModelPlan } from "./checkpoint/plan.js";
import type { NativeWork } from "./native.js";
import type { DrawnStep } from "./scheduler.js";

/**
 * Reads are shared: where a pass over a layer serves several sequences, each is charged an equal part of it. So sums over
 * sessions are what was read.
 */
export interface Stats {
  /** Tokens appended by steps. */
  readonly tokens: number;
  /** How many of them left at exit 1 … N. */
  readonly exits: readonly number[];
  /** Times one layer's weights were read, prompt included. */
  readonly layerPasses: number;
  /** Of those, what is beyond the layers that the steps' own rows ran through: prompts of several passes, flushes. */
  readonly promptPasses: number;
  /** Bytes of weights read: layers, routers, adapters and heads. */
  readonly weightBytes: number;
  /** Rows computed, counted once a layer. */
  readonly rowsRun: number;
  /** Rows that wait before a segment now, counted once a layer of every segment they have not run through. */
  readonly rowsNeverRun: number;
  /** Tokens of a prompt that segment 1 need not process, since an earlier sequence had. */
  readonly cachedTokens: number;
  /** Work beside all this, for tokens that were drawn ahead and never handed out. */
  readonly discarded: {
    readonly tokens: number;
    readonly layerPasses: number;
    readonly weightBytes: number;
    readonly rowsRun: number;
  };
}

/** Counts as tokens are handed out. */
export interface Counter {
  cachedTokens: number;
  step(step: DrawnStep): void;
  work(work: NativeWork): void;
  discard(step: DrawnStep): void;
  /** Of a session with these frontiers. */
  stats(frontiers: readonly number[]): Stats;
}

export function createCounter(plan: ModelPlan): Counter {
  const exits = new Array<number>(plan.exits.length + 1).fill(0);
  const total = { layerPasses: 0, weightBytes: 0, rowsRun: 0 };
  let promptPasses = 0;
  const discarded = { tokens: 0, layerPasses: 0, weightBytes: 0, rowsRun: 0 };
  const add = (to: typeof total, work: NativeWork) => {
    to.layerPasses += work.layerPasses;
    to.weightBytes += work.weightBytes;
    to.rowsRun += work.layerRows;
  };
  return {
    cachedTokens: 0,
    step({ exit, work, layersRun }) {
      promptPasses += Math.max(work.layerPasses - layersRun, 0);
      exits[exit - 1] = (exits[exit - 1] ?? 0) + 1;
      add(total, work);
    },
    work(work) {
      promptPasses += work.layerPasses;
      add(total, work);
    },
    discard({ work }) {
      discarded.tokens++;
      add(discarded, work);
    },
    stats(frontiers) {
      return {
        tokens: exits.reduce((sum, count) => sum + count, 0),
        exits: [...exits],
        ...total,
        promptPasses,
        rowsNeverRun: waiting(plan, frontiers),
        cachedTokens: this.cachedTokens,
        discarded: { ...discarded },
      };
    },
  };
}

function waiting(plan: ModelPlan, frontiers: readonly number[]): number {
  let rows = 0;
  for (let m = 1; m < frontiers.length; m++) {
    const begin = plan.exits[m - 1]?.afterLayer ?? 0;
    const end = plan.exits[m]?.afterLayer ?? plan.layers;
    rows += ((frontiers[0] ?? 0) - (frontiers[m] ?? 0)) * (end - begin);
  }
  return rows;
}
