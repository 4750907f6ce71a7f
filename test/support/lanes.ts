/** Calls of several sequences at once: lib/cache over the native seam, without the scheduler. */
import {
  commit,
  createSequence,
  describe,
  reserve,
  type SequenceState,
} from "../../lib/cache/sequence.js";
import type { Model } from "../../lib/model.js";
import { type NativeFailure, type NativeRequest, STEP_FIELDS } from "../../lib/native.js";

export interface Lane {
  readonly state: SequenceState;
  readonly seed: bigint;
  readonly stream: number;
}

export interface LaneStep {
  readonly token: number;
  readonly exit: number;
}

export interface LaneCall {
  readonly options?: Partial<LaneOptions>;
  readonly count?: number;
  readonly stopTokens?: readonly number[];
  readonly abort?: Int32Array<ArrayBuffer>;
  /** Makes the call one that the native side refuses. */
  readonly broken?: boolean;
}

type LaneOptions = Pick<NativeRequest, "law" | "maxPending" | "force">;

const EXACT: LaneOptions = {
  law: { temperature: 1, topK: 0, routerTemperature: 1 },
  maxPending: 15,
  force: -1,
};

export function createLane(model: Model, seed: bigint, tokens: readonly number[]): Lane {
  const state = createSequence(model.core.segments);
  appendTo(state, tokens);
  return { state, seed, stream: 0 };
}

export function appendTo(state: SequenceState, tokens: readonly number[]): void {
  for (const token of tokens) {
    state.tokens.push(token);
    state.generated.push(0);
  }
}

/** One native call that steps (or flushes, with `count` 0) all lanes, and its bookkeeping. */
export async function runLanes(
  model: Model,
  lanes: readonly Lane[],
  { options, count = 1, stopTokens = [], abort = new Int32Array(1), broken = false }: LaneCall = {},
): Promise<{ steps: LaneStep[][]; error: NativeFailure | null }> {
  const { native, scheduler } = model.core;
  const { pools } = scheduler.memory;
  const reservations = lanes.map(({ state }) =>
    reserve(state, pools, state.tokens.length + Math.max(count, 1) - 1),
  );
  const result = await native.run({
    requests: lanes.map(({ state, seed, stream }, i) => ({
      ...describe(state, reservations[i] as ReturnType<typeof reserve>, seed, stream),
      ...EXACT,
      ...options,
      count,
      capacity: 2 ** 24,
      stopTokens: Uint32Array.from(stopTokens),
      abort,
      remaining: 1,
    })),
    cacheBlocks: broken ? 0 : pools.cache.size,
    boundaryBlocks: pools.boundary.size,
    promptRows: 32,
    budget: 600_000,
  });
  const steps = lanes.map(({ state }, i): LaneStep[] => {
    const outcome = result.requests[i];
    const frontiers = Array.from(outcome?.frontiers ?? []);
    commit(state, pools, reservations[i] as ReturnType<typeof reserve>, frontiers);
    const numbers = outcome?.steps ?? new Float64Array();
    const list: LaneStep[] = [];
    for (let at = 0; at < numbers.length; at += STEP_FIELDS) {
      const [token = 0, , exit = 0] = numbers.subarray(at);
      state.tokens.push(token);
      state.generated.push(1);
      list.push({ token, exit });
    }
    return list;
  });
  const stopped = result.requests.find(({ stop }) => stop === "aborted");
  const aborted = { aborted: true, code: "", message: "", details: {} };
  return { steps, error: result.error ?? (stopped === undefined ? null : aborted) };
}
