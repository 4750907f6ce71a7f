#!/usr/bin/env node
import { run } from "./run.js";
import { type Context, INTERRUPTED } from "./types.js";

const controller = new AbortController();

// The first Ctrl-C ends the work in order, a second one kills.
process.once("SIGINT", () => controller.abort(INTERRUPTED));

for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error) => controller.abort(error));
}

const context: Context = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
  loadModel: async (directory, options) => {
    const index = new URL("../index.js", import.meta.url).href;
    const { loadModel } = (await import(index)) as Pick<Context, "loadModel">;
    return loadModel(directory, options);
  },
};

process.exitCode = await run(process.argv.slice(2), context);
