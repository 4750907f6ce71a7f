// The same dense model through llama.cpp, in turns with nvium: see README.md.
//
//   node bench/peer.js [--shape M] [--dtypes bf16,int8,int4] [--threads 1,2] [--rounds 8]
import { execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { checkpoint } from "./checkpoint.js";
import { install } from "./lib/install.js";
import { BENCH, CACHE } from "./lib/paths.js";
import { save, table } from "./lib/results.js";
import { median, rotated } from "./lib/stats.js";
import { gguf } from "./peer/gguf.js";

const PEER = join(BENCH, "peer");
const VERSION = "3.22.1";
const ROWS = [1, 2, 4, 8, 16];
const TURN = 16;
const PROMPT = 512;

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "M" },
    threads: { type: "string", default: availableParallelism() > 1 ? "1,2" : "1" },
    dtypes: { type: "string", default: "bf16,int8,int4" },
    rounds: { type: "string", default: "8" },
  },
});
const shape = `${values.shape}-plain`;
const rounds = Number(values.rounds);

// Only this machine's prebuilt library, without those for GPUs.
install(PEER, "node-llama-cpp", {
  arguments: [
    "--omit=optional",
    "--no-save",
    "--ignore-scripts",
    `@node-llama-cpp/${process.platform}-${process.arch}@${VERSION}`,
  ],
  environment: { NODE_LLAMA_CPP_SKIP_DOWNLOAD: "true" },
});
mkdirSync(CACHE, { recursive: true });
const shim = join(CACHE, "pinshim.so");
execFileSync("gcc", ["-O2", "-shared", "-fPIC", join(PEER, "pinshim.c"), "-o", shim, "-ldl"]);
/** What each of our types is called there: Q8_0 and Q4_0 share a scale among 32 weights. */
const PEER_TYPES = { bf16: "bf16", int8: "q8_0", int4: "q4_0" };
const directory = checkpoint(shape);

const results = [];
for (const dtype of values.dtypes.split(",")) {
  const model = gguf(shape, PEER_TYPES[dtype]);
  for (const threads of values.threads.split(",").map(Number)) {
    results.push(await contest(dtype, model, threads));
  }
}
save(`peer-${values.shape}`, {
  shape,
  peer: `node-llama-cpp ${VERSION}`,
  promptTokens: PROMPT,
  results,
});

/** A process that has loaded its model and measures what it is asked for. */
async function start(name, script, args, environment = {}) {
  const child = fork(join(PEER, script), args, {
    env: { ...process.env, NODE_LLAMA_CPP_SKIP_DOWNLOAD: "true", ...environment },
  });
  const failed = once(child, "exit").then(([code]) => {
    throw new Error(`${name} ended with ${code}.`);
  });
  failed.catch(() => {});
  const answer = async () => (await Promise.race([once(child, "message"), failed]))[0];
  await answer();
  return {
    name,
    /** @param {string} what @param {number} argument @returns {Promise<number>} seconds */
    ask(what, argument) {
      child.send([what, argument]);
      return answer();
    },
    async stop() {
      const ended = once(child, "exit");
      child.disconnect();
      await ended;
    },
  };
}

async function contest(dtype, model, threads) {
  const contestants = [
    await start("nvium", "nvium.js", [
      directory,
      String(threads),
      dtype === "bf16" ? "stored" : dtype,
    ]),
    await start("llama.cpp", "llama.js", [model, String(threads)]),
  ];
  // One thread has nothing to place.
  if (threads > 1) {
    const placed = { LD_PRELOAD: shim };
    contestants.push(
      await start("llama.cpp, placed", "llama.js", [model, String(threads)], placed),
    );
  }
  const names = contestants.map(({ name }) => name);
  const times = Object.fromEntries(
    names.map((name) => [name, { decode: [], prompt: [], rows: [] }]),
  );
  const everyone = async (round, what, argument, store) => {
    for (const one of rotated(contestants, round)) store(one.name, await one.ask(what, argument));
  };
  await everyone(0, "decode", 2, () => {});
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < 2; i++) {
      await everyone(round + i, "decode", TURN, (name, s) => times[name].decode.push(s / TURN));
    }
    for (const k of ROWS) {
      await everyone(round, "rows", k, (name, s) => {
        times[name].rows[round] ??= {};
        times[name].rows[round][k] = s;
      });
    }
    if (round % 2 === 0) {
      await everyone(round / 2, "prompt", PROMPT, (name, s) => times[name].prompt.push(s));
    }
  }
  for (const one of contestants) await one.stop();
  const ours = times.nvium;
  const summary = names.map((name) => {
    const own = times[name];
    return {
      name,
      tokensPerSecond: 1 / median(own.decode),
      promptTokensPerSecond: PROMPT / median(own.prompt),
      rows: ROWS.map((k) => ({
        k,
        seconds: median(own.rows.map((row) => row[k])),
        ratio: median(own.rows.map((row) => row[k] / row[1])),
      })),
      // How many times faster nvium was, round by round.
      decodeRatio: median(own.decode.map((time, i) => time / ours.decode[i])),
      promptRatio: median(own.prompt.map((time, i) => time / ours.prompt[i])),
      rowRatios: ROWS.map((k) => median(own.rows.map((row, i) => row[k] / ours.rows[i][k]))),
    };
  });
  table(
    `${shape}, ${dtype} and ${PEER_TYPES[dtype]}, ${threads} threads, ${rounds} rounds`,
    [
      "",
      "tokens/s",
      "nvium ×",
      `prompt of ${PROMPT}, tokens/s`,
      "nvium ×",
      ...ROWS.slice(1).map((k) => `t(${k})/t(1)`),
    ],
    summary.map((s) => [
      s.name,
      s.tokensPerSecond,
      s.decodeRatio,
      s.promptTokensPerSecond,
      s.promptRatio,
      ...s.rows.slice(1).map((row) => row.ratio),
    ]),
  );
  return { dtype, threads, rounds, contestants: summary };
}
