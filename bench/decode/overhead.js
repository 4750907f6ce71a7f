/** From step() to its promise: what the way through the pool and the event loop adds to the native time. */
import { join } from "node:path";
import { loadModel } from "../../dist/index.js";
import { withModels } from "../lib/models.js";
import { ROOT } from "../lib/paths.js";
import { table } from "../lib/results.js";
import { median, quantile } from "../lib/stats.js";

const STEPS = 400;
/** A busy event loop: turns of this many milliseconds, one after another. */
const TURN = 0.2;

/** @param {{ threads: number }} options */
export async function overhead({ threads }) {
  const results = [];
  for (const count of threads > 1 ? [1, threads] : [1]) {
    const demo = loadModel(join(ROOT, "models", "demo"), { device: "cpu", threads: count });
    await withModels([demo], async (model) => {
      const inside = clock(model.engine.native);
      for (const busy of [false, true]) {
        results.push({ threads: count, busy, ...(await measure(model, inside, busy)) });
      }
    });
  }
  table(
    `From step() to its promise, the demo model, ${STEPS} steps, µs`,
    ["", "native", "stepSync beyond", "step beyond", "p90"],
    results.map((r) => [
      `${r.threads} threads${r.busy ? `, turns of ${TURN} ms on the loop` : ""}`,
      ...[r.native, r.sync, r.async, r.asyncP90].map((seconds) => seconds * 1e6),
    ]),
  );
  return results;
}

/** Times the native calls themselves: the sync ones, which the async ones repeat. */
function clock(native) {
  const inside = { seconds: 0 };
  const stepSync = native.stepSync.bind(native);
  const value = (call) => {
    const begin = performance.now();
    const result = stepSync(call);
    inside.seconds = (performance.now() - begin) / 1e3;
    return result;
  };
  Object.defineProperty(native, "stepSync", { value });
  return inside;
}

/** Two sessions of one seed take the same steps, one by stepSync and one by step. */
async function measure(model, inside, busy) {
  const sessions = [0, 1].map(() => model.createSession({ seed: 1 }));
  const prompt = await model.encode("Once upon a time");
  for (const session of sessions) session.append(prompt);
  const stop = busy ? occupy() : () => {};
  const [sync, async] = sessions;
  const samples = [];
  for (let i = 0; i < STEPS; i++) {
    const sample = {};
    const blocking = () => {
      const begin = performance.now();
      sync.stepSync();
      sample.sync = (performance.now() - begin) / 1e3;
      sample.native = inside.seconds;
    };
    if (i % 2 === 0) blocking();
    const begin = performance.now();
    await async.step();
    sample.async = (performance.now() - begin) / 1e3;
    if (i % 2 === 1) blocking();
    samples.push(sample);
  }
  stop();
  await Promise.all(sessions.map((session) => session.dispose()));
  const beyond = samples.map((s) => s.async - s.native);
  return {
    native: median(samples.map((s) => s.native)),
    sync: median(samples.map((s) => s.sync - s.native)),
    async: median(beyond),
    asyncP90: quantile(beyond, 0.9),
  };
}

function occupy() {
  let on = true;
  const turn = () => {
    const end = performance.now() + TURN;
    while (performance.now() < end);
    if (on) setImmediate(turn);
  };
  setImmediate(turn);
  return () => {
    on = false;
  };
}
