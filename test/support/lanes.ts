/** Calls of several sequences at once, which the public API does not make yet: lib/cache over the native seam. */
import {
  commit,
  createSequence,
  describe,
  reserve,
  type SequenceState,
} from "../../lib/cache/sequence.js";
import type { Model } from "../../lib/model.js";
import type { NativeFailure, NativeStepOptions } from "../../lib/native.js";
import { STEP_FIELDS } from "../../lib/native.js";

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
  readonly options?: Partial<NativeStepOptions>;
  readonly count?: number;
  readonly stopTokens?: readonly number[];
  readonly abort?: Int32Array<ArrayBuffer>;
  /** Makes the call one that the native side refuses. */
  readonly broken?: boolean;
}

const EXACT: NativeStepOptions = {
  temperature: 1,
  topK: 0,
  routerTemperature: 1,
  maxPending: 15,
  force: -1,
};

export function createLane(model: Model, seed: bigint, tokens: readonly number[]): Lane {
  const state = createSequence(model.engine.segments);
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
  const { pools, native } = model.engine;
  const reservations = lanes.map(({ state }) =>
    reserve(state, pools, state.tokens.length + Math.max(count, 1) - 1),
  );
  const call = {
    sequences: lanes.map(({ state, seed, stream }, i) =>
      describe(state, reservations[i] as ReturnType<typeof reserve>, seed, stream),
    ),
    cacheBlocks: pools.cache.size,
    boundaryBlocks: pools.boundary.size,
    fresh: Uint32Array.from(reservations.flatMap(({ fresh }) => fresh)),
    positions: broken ? 0 : Math.max(...reservations.map(({ end }) => end)),
    control: { abort },
  };
  const result =
    count === 0
      ? await native.flush(call)
      : await native.step({
          ...call,
          options: lanes.map(() => ({ ...EXACT, ...options })),
          count,
          budget: 60_000,
          stopTokens: Uint32Array.from(stopTokens),
        });
  const steps = lanes.map(({ state }, i): LaneStep[] => {
    const frontiers = Array.from(result.frontiers[i] ?? []);
    commit(state, pools, reservations[i] as ReturnType<typeof reserve>, frontiers);
    const numbers = result.steps[i] ?? new Uint32Array();
    const list: LaneStep[] = [];
    for (let at = 0; at < numbers.length; at += STEP_FIELDS) {
      const [token = 0, , exit = 0] = numbers.subarray(at);
      state.tokens.push(token);
      state.generated.push(1);
      list.push({ token, exit });
    }
    return list;
  });
  return { steps, error: result.error };
}
