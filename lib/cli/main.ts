#!/usr/bin/env node
import { loadModel } from "../index.js";
import { run } from "./run.js";
import { INTERRUPTED } from "./types.js";

const controller = new AbortController();

// The first Ctrl-C ends the work in order, a second one kills.
process.once("SIGINT", () => controller.abort(INTERRUPTED));

for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error) => controller.abort(error));
}

process.exitCode = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: controller.signal,
  loadModel,
});
