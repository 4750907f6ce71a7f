/** Time to the first token: everything through the prompt first, as is usual, or a step at once, the rest of the prompt deferred. */

import { open, withModels } from "../lib/models.js";
import { plainPrompt } from "../lib/prompts.js";
import { table } from "../lib/results.js";
import { mean, median, timed } from "../lib/stats.js";

const LENGTHS = [64, 256, 512];

/** @param {{ shape: string, threads: number, rounds: number }} options */
export function firstToken({ shape, threads, rounds }) {
  return withModels([open(shape, threads)], async (model) => {
    const run = async (tokens, seed, flushFirst) => {
      const session = model.createSession({ seed });
      session.append(tokens);
      const { seconds, value } = await timed(async () => {
        if (flushFirst) await session.flush();
        return session.step();
      });
      await session.dispose();
      return { seconds, exit: value.exit };
    };
    await run(plainPrompt(64, 32000), 0, false);
    const samples = [];
    for (let round = 0; round < rounds; round++) {
      for (const length of LENGTHS) {
        const tokens = plainPrompt(length, model.info.vocabSize);
        const pair = [];
        for (const flushFirst of round % 2 === 0 ? [true, false] : [false, true]) {
          pair[Number(flushFirst)] = await run(tokens, round * 31 + length, flushFirst);
        }
        const [deferred, flushed] = pair;
        samples.push({
          length,
          exit: deferred.exit,
          flushed: flushed.seconds,
          deferred: deferred.seconds,
        });
      }
    }
    const lengths = LENGTHS.map((length) => {
      const own = samples.filter((sample) => sample.length === length);
      return {
        length,
        flushed: mean(own.map((s) => s.flushed)),
        deferred: mean(own.map((s) => s.deferred)),
        ratio: mean(own.map((s) => s.deferred)) / mean(own.map((s) => s.flushed)),
      };
    });
    const exits = model.info.exits.map((layers, i) => {
      const own = samples.filter((sample) => sample.exit === i + 1);
      return {
        exit: i + 1,
        layers,
        count: own.length,
        ratio: median(own.map((s) => s.deferred / s.flushed)),
      };
    });
    table(
      `Time to the first token, ${shape}, ${threads} threads, ms (mean of ${rounds})`,
      ["prompt", "prompt first", "step at once", "ratio"],
      lengths.map((l) => [l.length, l.flushed * 1e3, l.deferred * 1e3, l.ratio]),
    );
    table(
      "  by the exit the first token left at",
      ["exit", "of", "ratio (median)"],
      exits.map((e) => [`${e.exit}`, e.count, e.ratio]),
    );
    return { lengths, exits };
  });
}
