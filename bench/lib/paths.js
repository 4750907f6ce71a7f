/** Where the benchmarks keep things. */
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

export const ROOT = at("../..");
export const BENCH = at("..");
/** Checkpoints and what else is made once; safe to delete. */
export const CACHE = at("../.cache");
export const RESULTS = at("../results");
