/** lib/cache over the real native side: random calls of several sequences, keys and values compared bit for bit. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fork, release, truncate } from "../../lib/cache/sequence.js";
import { loadModel, type Model } from "../../lib/index.js";
import { fixture } from "../support/expected.js";
import { difference, type KeysAndValues, keysAndValues } from "../support/kv.js";
import { appendTo, createLane, type Lane, type LaneCall, runLanes } from "../support/lanes.js";
import { random } from "../support/random.js";

describe.each(["quadrivium-gqa-f32", "bivium-untied-bf16", "trivium-sharded-f16"])("%s", (name) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(fixture(name), { threads: 1 });
  });
  afterAll(async () => {
    await model.dispose();
  });

  /** What a sequence with these tokens must hold, computed at once in blocks of its own. */
  async function atOnce(tokens: readonly number[]): Promise<KeysAndValues> {
    const lane = createLane(model, 0n, tokens);
    await runLanes(model, [lane], { count: 0 });
    const computed = keysAndValues(model, lane.state);
    release(lane.state, model.core.scheduler.memory.pools);
    return computed;
  }

  it.each([1, 2])("every sequence holds what its own tokens give, script %i", async (script) => {
    const { below, pick, once } = random(script);
    const { pools } = model.core.scheduler.memory;
    const V = model.info.vocabSize;
    const some = () => Array.from({ length: 1 + below(50) }, () => below(V));
    let lanes: Lane[] = [createLane(model, 1n, some())];
    const seen = { failed: 0, shared: 0, waited: 0 };

    async function call(who: readonly Lane[], options: LaneCall): Promise<void> {
      const before = who.map(({ state }) => ({ tokens: [...state.tokens], f: state.frontiers }));
      const { steps, error } = await runLanes(model, who, options);
      for (const [i, { state }] of who.entries()) {
        const { tokens, f } = before[i] as (typeof before)[number];
        expect(state.tokens).toEqual([...tokens, ...(steps[i] ?? []).map(({ token }) => token)]);
        expect(state.frontiers[0]).toBeLessThan(state.tokens.length);
        for (const [m, frontier] of state.frontiers.entries()) {
          expect(frontier).toBeGreaterThanOrEqual(f[m] as number);
        }
      }
      if (options.broken) expect(error?.code).toBe("ERR_NVIUM_INTERNAL");
      else if (options.abort) expect(error?.aborted).toBe(true);
      else expect(error).toBeNull();
      if (error !== null) seen.failed++;
    }

    for (let i = 0; i < 80; i++) {
      const lane = pick(lanes);
      const others = lanes.filter((other) => other === lane || once(3));
      const options = { maxPending: pick([0, 2, 15, 0xffffffff]) };
      const full = lane.state.tokens.length > 160;
      switch (below(9)) {
        case 0:
          if (!full) appendTo(lane.state, some());
          break;
        case 1:
        case 2:
          await call(others, { options });
          break;
        case 3: {
          // Several steps, the last of them forgotten.
          const { length } = lane.state.tokens;
          await call([lane], { options, count: 6 });
          truncate(lane.state, pools, length + below(7));
          break;
        }
        case 4:
          await call(others, { count: 0 });
          break;
        case 5:
          truncate(lane.state, pools, 1 + below(lane.state.tokens.length));
          break;
        case 6:
        case 7:
          if (lanes.length < 5) {
            lanes.push({ ...lane, stream: below(3), state: fork(lane.state, pools) });
          } else {
            release(lane.state, pools);
            lanes = lanes.filter((other) => other !== lane);
          }
          break;
        default:
          await call(others, once(2) ? { broken: true } : { abort: Int32Array.of(1) });
      }
      for (const { state } of lanes) {
        if (state.cache.some((block) => pools.cache.shared(block))) seen.shared++;
        if (state.frontiers.at(-1) !== state.frontiers[0]) seen.waited++;
        if (once(2)) continue;
        const computed = keysAndValues(model, state);
        expect(difference(computed, await atOnce(state.tokens))).toBeNull();
      }
    }
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(3);
    await call(lanes, { count: 0 });
    for (const { state } of lanes) {
      expect(difference(keysAndValues(model, state), await atOnce(state.tokens))).toBeNull();
      release(state, pools);
    }
    expect([pools.cache.used, pools.boundary.used]).toEqual([0, 0]);
  });
});
