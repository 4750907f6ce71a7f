// Every operation of the CPU backend by itself: see README.md.
//
//   node bench/kernels.js [--shapes S,M] [--threads 1,2] [--rounds 9]
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { buildNative, runNative } from "./lib/native.js";
import { save } from "./lib/results.js";

const { values } = parseArgs({
  options: {
    shapes: { type: "string", default: "S,M" },
    threads: { type: "string", default: availableParallelism() > 1 ? "1,2" : "1" },
    rounds: { type: "string", default: "9" },
  },
});
buildNative();
const runs = values.shapes
  .split(",")
  .flatMap((shape) =>
    values.threads
      .split(",")
      .map((threads) => runNative("kernels", [shape, threads, values.rounds])),
  );
save("kernels", { runs });
