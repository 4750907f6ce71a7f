// The demo against its dense twin, two models trained on the same text: how well they tell it, and how fast. See README.md.
//
//   node bench/twin.js [--threads 2] [--prompts 64] [--tokens 224] [--json]
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadModel } from "../dist/index.js";
import { compare, contest } from "./lib/contest.js";
import { prompted, withModels } from "./lib/models.js";
import { ROOT } from "./lib/paths.js";
import { save, table } from "./lib/results.js";
import { mean, median, sum } from "./lib/stats.js";

const WINDOW = 256;
const PROMPT = 32;

const { values } = parseArgs({
  options: {
    threads: { type: "string", default: String(Math.min(2, availableParallelism())) },
    prompts: { type: "string", default: "64" },
    tokens: { type: "string", default: "224" },
    json: { type: "boolean", default: false },
  },
});
const [threads, count, tokens] = [values.threads, values.prompts, values.tokens].map(Number);
const text = readFileSync(join(ROOT, "test", "demo", "validation.txt"), "utf8");

/** Scores every window of the validation text. @param {import("./lib/models.js").Model} model */
async function score(model, windows) {
  const { vocabSize, exits } = model.info;
  const crossEntropies = [];
  const exitProbs = exits.map(() => []);
  for (const window of windows) {
    const result = await model.evaluate(window, { mixture: true });
    const next = window.slice(1);
    crossEntropies.push(-mean(next.map((x, t) => result.mixtureLogProbs[t * vocabSize + x])));
    for (const [k, probs] of exitProbs.entries()) {
      probs.push(mean(next.map((_, t) => result.exitProbs[t * exits.length + k])));
    }
  }
  return { crossEntropies, exitProbs: exitProbs.map(mean) };
}

/** Both continue beginnings of windows in turns. @param {import("./lib/models.js").Model[]} models */
async function race(models, windows) {
  const turns = [];
  const speedups = [];
  const left = models.map((model) => model.info.exits.map(() => 0));
  const passes = models.map(() => 0);
  for (let i = 0; i < count; i++) {
    const window = windows[Math.floor(((i + 0.5) * windows.length) / count)];
    const sessions = [];
    for (const model of models) {
      sessions.push((await prompted(model, window.slice(0, PROMPT), { seed: i })).session);
    }
    const before = sessions.map((session) => session.stats());
    const own = await contest(sessions, tokens);
    turns.push(...own);
    speedups.push(compare(own).speedup);
    for (const [m, session] of sessions.entries()) {
      const { exits, layerPasses } = session.stats();
      passes[m] += layerPasses - before[m].layerPasses;
      left[m] = left[m].map((n, k) => n + exits[k] - before[m].exits[k]);
      await session.dispose();
    }
  }
  return {
    ...compare(turns),
    // A text takes 50 ms: what disturbs one of them counts for one.
    speedup: median(speedups),
    layersPerToken: passes.map((n) => n / (count * tokens)),
    exitShares: left.map((counts) => counts.map((n) => n / (count * tokens))),
  };
}

const names = ["demo", "demo-twin"];
const open = (name) =>
  loadModel(join(ROOT, "models", name), { device: "cpu", threads, prefixShare: 0 });
await withModels(names.map(open), async (...models) => {
  const encoded = await models[0].encode(text, { addSpecialTokens: false });
  const windows = Array.from({ length: Math.floor(encoded.length / WINDOW) }, (_, w) =>
    encoded.slice(w * WINDOW, (w + 1) * WINDOW),
  );
  const scored = [];
  for (const model of models) scored.push(await score(model, windows));
  // Window by window: what is hard to tell is hard for both.
  const differences = windows.map(
    (_, w) => scored[0].crossEntropies[w] - scored[1].crossEntropies[w],
  );
  const difference = mean(differences);
  const variance = sum(differences.map((d) => (d - difference) ** 2)) / (windows.length - 1);
  const result = {
    threads,
    names,
    parameters: models.map((model) => model.info.parameters),
    windows: windows.length,
    windowTokens: WINDOW,
    crossEntropy: scored.map((s) => mean(s.crossEntropies)),
    perplexity: scored.map((s) => Math.exp(mean(s.crossEntropies))),
    difference,
    standardError: Math.sqrt(variance / windows.length),
    exitProbabilities: scored.map((s) => s.exitProbs),
    prompts: count,
    promptTokens: PROMPT,
    tokens,
    ...(await race(models, windows)),
  };

  const shares = (of) => of.map((p) => p.toFixed(3)).join(" / ");
  const row = (label, of) => [label, ...names.map((_, m) => of(m))];
  table(
    `${windows.length} windows of ${WINDOW} tokens; ${count} texts of ${tokens} tokens in turns, ${threads} threads`,
    ["", ...names],
    [
      row("parameters", (m) => result.parameters[m].toLocaleString("en")),
      row("perplexity", (m) => result.perplexity[m].toFixed(2)),
      row("exit probabilities", (m) => shares(result.exitProbabilities[m])),
      row("tokens left at", (m) => shares(result.exitShares[m])),
      row("layers a token", (m) => result.layersPerToken[m].toFixed(2)),
      row("MB a token", (m) => result.bytesPerToken[m] / 1e6),
      row("tokens/s", (m) => result.tokensPerSecond[m]),
    ],
  );
  console.log(
    `  cross-entropy ${difference.toFixed(4)} ± ${result.standardError.toFixed(4)} nats against the twin's; ` +
      `× ${result.speedup.toFixed(2)} in tokens/s, roof by bytes × ${result.roof.toFixed(2)}`,
  );
  if (values.json) save("twin", result);
});
