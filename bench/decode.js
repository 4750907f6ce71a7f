// Decoding, through the public API and without Node: see README.md.
//
//   node bench/decode.js [--shape M] [--threads 2] [--prompts 4] [--tokens 128] [--rounds 6] [--dtypes bf16,int8,int4] [--only twin,latency]
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { batch } from "./decode/batch.js";
import { firstToken } from "./decode/first-token.js";
import { latency } from "./decode/latency.js";
import { neighbour } from "./decode/neighbour.js";
import { newcomer } from "./decode/newcomer.js";
import { overhead } from "./decode/overhead.js";
import { shares } from "./decode/shares.js";
import { threads as compareThreads } from "./decode/threads.js";
import { twin } from "./decode/twin.js";
import { buildNative, runNative } from "./lib/native.js";
import { prompts as load } from "./lib/prompts.js";
import { save } from "./lib/results.js";

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "M" },
    threads: { type: "string", default: String(Math.min(2, availableParallelism())) },
    prompts: { type: "string", default: "4" },
    tokens: { type: "string", default: "128" },
    rounds: { type: "string", default: "6" },
    dtypes: { type: "string", default: "bf16,int8,int4" },
    only: { type: "string" },
  },
});
const { shape } = values;
const [threads, count, tokens, rounds] = [
  values.threads,
  values.prompts,
  values.tokens,
  values.rounds,
].map(Number);
// Only those who need prompts install a tokenizer.
let loaded;
const prompts = (most = count) => {
  loaded ??= load(count);
  return loaded.then((all) => all.slice(0, most));
};

function native() {
  buildNative();
  const counts = threads > 1 ? [1, threads] : [1];
  return [`${shape}-dense`, shape].flatMap((name) =>
    values.dtypes
      .split(",")
      .flatMap((dtype) =>
        counts.map((n) => runNative("decode", [name, n, rounds * 2, "--dtype", dtype])),
      ),
  );
}

const parts = {
  twin: async () => twin({ shape, threads, prompts: await prompts(), tokens }),
  shares: async () => shares({ threads, prompts: await prompts(2), tokens: Math.min(tokens, 64) }),
  firstToken: () => firstToken({ shape, threads, rounds }),
  latency: async () => latency({ shape, threads, prompts: await prompts(2), tokens }),
  overhead: () => overhead({ threads }),
  twoThreads: () => compareThreads({ shape, threads, rounds: Math.ceil(rounds / 2), tokens }),
  neighbour: () => neighbour({ shape, threads, rounds, tokens: Math.min(tokens, 32) }),
  newcomer: () => newcomer({ shape, threads, rounds: Math.ceil(rounds / 2) }),
  batch: () => batch({ shape, threads, rounds: rounds * 2 }),
  native,
};
const chosen = values.only?.split(",") ?? Object.keys(parts);
const results = { shape, threads };
for (const name of chosen) {
  if (parts[name] === undefined) throw new RangeError(`There is no measurement ${name}.`);
  results[name] = await parts[name]();
}
save(`decode-${shape}`, results);
