/**
 * The contestant: llama.cpp through node-llama-cpp, by the thin binding under its public queue: it draws no tokens, which is
 * in its favour. Arguments: GGUF file, threads.
 */
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { CONTEXT, MOST, seconds, serve, token } from "./contestant.js";

const [modelPath, threadsText] = process.argv.slice(2);
const threads = Number(threadsText);
const llama = await getLlama({
  build: "never",
  gpu: false,
  maxThreads: threads,
  progressLogs: false,
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const context = await model.createContext({
  contextSize: MOST,
  batchSize: 512,
  threads,
  sequences: 1,
  flashAttention: true,
});
const binding = context._ctx;
binding.setThreads(threads);

/** Computes the rows [position, position + count), and logits for the last. */
async function compute(position, count) {
  const tokens = Uint32Array.from({ length: count }, (_, i) => token(position + i));
  binding.initBatch(count);
  binding.addToBatch(0, position, tokens, Uint32Array.of(count - 1));
  return seconds(() => binding.decodeBatch());
}

const keep = (length) => binding.removeTokenCellsFromSequence(0, length, -1);
let length = CONTEXT;
await compute(0, CONTEXT);

serve({
  async decode(count) {
    if (length + count > MOST) {
      length = CONTEXT;
      keep(length);
    }
    let total = 0;
    for (let i = 0; i < count; i++) total += await compute(length++, 1);
    return total;
  },
  // The first call with another number of rows rebuilds the graph: the second counts.
  async rows(k) {
    let last = 0;
    for (let i = 0; i < 2; i++) {
      keep(CONTEXT);
      last = await compute(CONTEXT, k);
    }
    keep(CONTEXT);
    length = CONTEXT;
    return last;
  },
  async prompt(count) {
    keep(0);
    const time = await compute(0, count);
    keep(CONTEXT);
    length = CONTEXT;
    return time;
  },
});
