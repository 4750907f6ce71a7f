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
  /**
   * Rows that wait before a segment, counted once a layer of every segment they have not run through: now, or where tokens
   * drawn ahead were not handed out, as the last one that was left them.
   */
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
  /** Tokens drawn ahead that are not handed out, with the frontiers they left and the tokens that stay. */
  discard(steps: readonly DrawnStep[], frontiers: readonly number[], length: number): void;
  /** What waits is what the frontiers say again. */
  goOn(): void;
  /** Of a session with these frontiers. */
  stats(frontiers: readonly number[]): Stats;
}

export function createCounter(plan: ModelPlan): Counter {
  const exits = new Array<number>(plan.exits.length + 1).fill(0);
  const total = { layerPasses: 0, weightBytes: 0, rowsRun: 0 };
  let promptPasses = 0;
  const discarded = { tokens: 0, layerPasses: 0, weightBytes: 0, rowsRun: 0 };
  /** Rows of tokens that stay which discarded steps have run. */
  let ahead = 0;
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
    discard(steps, frontiers, length) {
      if (steps.length === 0) return;
      const { rowsRun } = discarded;
      for (const { work } of steps) add(discarded, work);
      discarded.tokens += steps.length;
      const last = Math.max(length - 1, 0);
      // Blocks that were taken meanwhile leave nothing to compare.
      if ((frontiers[0] ?? 0) < last) return;
      const ofOthers = rowsOf(plan, frontiers) - rowsOf(plan, cut(frontiers, last));
      ahead = Math.max(discarded.rowsRun - rowsRun - ofOthers, 0);
    },
    goOn() {
      ahead = 0;
    },
    stats(frontiers) {
      return {
        tokens: exits.reduce((sum, count) => sum + count, 0),
        exits: [...exits],
        ...total,
        promptPasses,
        rowsNeverRun: waiting(plan, frontiers) + ahead,
        cachedTokens: this.cachedTokens,
        discarded: { ...discarded },
      };
    },
  };
}

/** Rows that have not run, of those that segment 1 has. */
function waiting(plan: ModelPlan, frontiers: readonly number[]): number {
  const rows = (frontiers[0] ?? 0) * plan.layers;
  return rows - rowsOf(plan, frontiers);
}

/** Rows that have run. */
function rowsOf(plan: ModelPlan, frontiers: readonly number[]): number {
  return frontiers.reduce((rows, frontier, m) => {
    const begin = plan.exits[m - 1]?.afterLayer ?? 0;
    const end = plan.exits[m]?.afterLayer ?? plan.layers;
    return rows + frontier * (end - begin);
  }, 0);
}

function cut(frontiers: readonly number[], last: number): number[] {
  return frontiers.map((frontier) => Math.min(frontier, last));
}
