/** Time between tokens, by how many rows may wait at a boundary. */
import { open, prompted, withModels } from "../lib/models.js";
import { table } from "../lib/results.js";
import { mean, quantile, rotated, timed } from "../lib/stats.js";

const BOUNDS = [0, 3, 7, 15, 31, Number.POSITIVE_INFINITY];
const TURN = 16;

/** @param {{ shape: string, threads: number, prompts: import("../lib/prompts.js").Prompt[], tokens: number }} options */
export function latency({ shape, threads, prompts, tokens }) {
  return withModels([open(shape, threads)], async (model) => {
    /** @type {number[][]} */
    const times = BOUNDS.map(() => []);
    for (const [i, prompt] of prompts.entries()) {
      const sessions = [];
      for (const maxPending of BOUNDS) {
        sessions.push((await prompted(model, prompt.tokens, { seed: i, maxPending })).session);
      }
      for (let done = 0; done < tokens; done += TURN) {
        for (const session of rotated(sessions, done / TURN)) {
          for (let t = 0; t < TURN; t++) {
            const { seconds } = await timed(() => session.step());
            times[sessions.indexOf(session)].push(seconds);
          }
        }
      }
      await Promise.all(sessions.map((session) => session.dispose()));
    }
    const bounds = BOUNDS.map((maxPending, i) => ({
      maxPending: Number.isFinite(maxPending) ? maxPending : "Infinity",
      mean: mean(times[i]),
      p50: quantile(times[i], 0.5),
      p90: quantile(times[i], 0.9),
      p99: quantile(times[i], 0.99),
      max: Math.max(...times[i]),
    }));
    table(
      `Time between tokens, ${shape}, ${threads} threads, ms`,
      ["maxPending", "mean", "p50", "p90", "p99", "max"],
      bounds.map((b) => [String(b.maxPending), ...[b.mean, b.p50, b.p90, b.p99, b.max].map(ms)]),
    );
    return { bounds, tokens: times[0].length };
  });
}

const ms = (seconds) => seconds * 1e3;
