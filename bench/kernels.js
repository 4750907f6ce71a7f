// Every operation of the CPU backend by itself: see README.md.
//
//   node bench/kernels.js [--shapes S,M] [--threads 1,2] [--dtypes bf16,int8,int4] [--rounds 9]
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { buildNative, runNative } from "./lib/native.js";
import { save } from "./lib/results.js";

const { values } = parseArgs({
  options: {
    shapes: { type: "string", default: "S,M" },
    threads: { type: "string", default: availableParallelism() > 1 ? "1,2" : "1" },
    dtypes: { type: "string", default: "bf16,int8,int4" },
    rounds: { type: "string", default: "9" },
  },
});
buildNative();
const runs = [];
for (const shape of values.shapes.split(",")) {
  for (const threads of values.threads.split(",")) {
    for (const dtype of values.dtypes.split(",")) {
      // Integers for keys and values beside those for matrices.
      const cache = dtype === "int8" ? "int8" : "bf16";
      const types = ["--dtype", dtype, "--cache-type", cache];
      runs.push(runNative("kernels", [shape, threads, values.rounds, ...types]));
    }
  }
}
save("kernels", { runs });
