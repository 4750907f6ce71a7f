// What the tests of exits run in processes of their own: `child.js <scenario>` over the built package. Scenarios say
// "started" when the job they are about is under way.
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { loadModel } from "../../dist/index.js";

const DEMO = fileURLToPath(new URL("../../models/demo", import.meta.url));
const ADDON = fileURLToPath(new URL("../../build/Release/nvium.node", import.meta.url));
const PROMPT = Array.from({ length: 30_000 }, (_, i) => 1 + ((i * 7) % 500));

const say = (text) => process.stdout.write(`${text}\n`);
const load = (options) => loadModel(DEMO, { threads: 1, ...options });

/** Jobs that last for seconds at least. */
const JOBS = {
  async step() {
    const session = (await load()).createSession({ extendContext: true, maxTokens: 50_000 });
    session.append(PROMPT);
    return session.step();
  },
  async flush() {
    const session = (await load()).createSession({ extendContext: true, maxTokens: 50_000 });
    session.append(PROMPT);
    return session.flush();
  },
  async evaluate() {
    const model = await load();
    const { contextLength } = model.info;
    // As many as there may be, again and again.
    const tokens = PROMPT.slice(0, contextLength);
    return Promise.all(Array.from({ length: 50 }, () => model.evaluate(tokens, { mixture: true })));
  },
  async load() {
    return Promise.all(Array.from({ length: 50 }, () => load()));
  },
};

/** Starts a job and waits until it must be under way; gives what becomes of it. */
async function start(job) {
  const outcome = { job: JOBS[job]() };
  outcome.job.catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, job === "load" ? 60 : 400));
  say("started");
  return outcome;
}

async function tokensOf(model) {
  const session = model.createSession({ seed: 1 });
  session.append(PROMPT.slice(0, 100));
  for (let i = 0; i < 10; i++) await session.step();
  const { tokens } = session;
  await session.dispose();
  return tokens.slice(100).join(" ");
}

/** A thread that runs a scenario of its own. */
function thread(scenario, data) {
  const worker = new Worker(new URL(import.meta.url), {
    argv: [scenario],
    workerData: data,
    env: process.env,
  });
  const exit = new Promise((resolve) => worker.once("exit", resolve));
  const message = new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  message.catch(() => undefined);
  return { worker, exit, message };
}

const SCENARIOS = {
  async exit(job) {
    await start(job);
    process.exit(7);
  },
  async uncaught(job) {
    await start(job);
    setImmediate(() => {
      throw new Error("not caught");
    });
  },
  async unawaited() {
    const session = (await load()).createSession({ extendContext: true, maxTokens: 5000 });
    session.append(PROMPT.slice(0, 2000));
    session.step().then(() => say("stepped"));
    say("started");
  },
  /** Workers that are terminated at all moments: loading, stepping, between. */
  async terminate(job) {
    const before = await load();
    const expected = await tokensOf(before);
    for (let i = 0; i < 8; i++) {
      const { worker, message } = thread("worker", { job });
      // Now and then while it is still being set up.
      if (i % 4 !== 3) await message;
      await new Promise((resolve) => setTimeout(resolve, 12 * i));
      await worker.terminate();
    }
    if ((await tokensOf(before)) !== expected) throw new Error("other tokens afterwards");
    say("same tokens");
  },
  /** The main thread exits while workers work. */
  async exitabove(job) {
    const threads = [thread("worker", { job }), thread("worker", { job })];
    await Promise.all(threads.map(({ message }) => message));
    say("started");
    process.exit(7);
  },
  async worker() {
    const { job, long = false } = workerData;
    const work = job === "step" && !long ? shortStep() : JOBS[job]();
    // Behind whatever comes ahead of the native side.
    if (job === "step") await new Promise((resolve) => setTimeout(resolve, 150));
    parentPort.postMessage("working");
    await work;
  },
  /** A worker in the middle of a job of many seconds. */
  async terminatelong(job) {
    const { worker, message } = thread("worker", { job, long: true });
    await message;
    say("started");
    await worker.terminate();
    say("terminated");
  },
  /** As many models at work as libuv's pool has threads, and a file to be read. */
  async files() {
    const stop = new AbortController();
    let ended = 0;
    const calls = Array.from({ length: 4 }, async () => {
      const session = (await load()).createSession({ extendContext: true, maxTokens: 50_000 });
      session.append(PROMPT);
      await session.flush({ signal: stop.signal }).catch(() => undefined);
      ended++;
    });
    await new Promise((resolve) => setTimeout(resolve, 400));
    await readFile(fileURLToPath(import.meta.url));
    say(`read while ${4 - ended} work`);
    stop.abort();
    await Promise.all(calls);
  },
  async exithandler() {
    const session = (await load()).createSession({ seed: 1 });
    session.append([1]);
    process.on("exit", () => {
      try {
        session.stepSync();
      } catch (error) {
        say(`${error.code} ${error.message}`);
      }
    });
  },
  /** A worker ends by itself in the middle of a job. */
  async workerexit() {
    const { exit } = thread("exit", {});
    say(`worker ended with ${await exit}`);
  },
  async threads() {
    const threads = Array.from({ length: 4 }, () => thread("tokens", {}));
    const all = [tokensOf(await load()), ...threads.map(({ message }) => message)];
    const tokens = new Set(await Promise.all(all));
    const codes = await Promise.all(threads.map(({ exit }) => exit));
    say(`${tokens.size} kind of tokens, codes ${codes.join(" ")}`);
  },
  async tokens() {
    const model = await load();
    parentPort.postMessage(await tokensOf(model));
  },
  /** Two copies of the addon: one here, one in a thread. */
  async copies() {
    const directory = mkdtempSync(join(tmpdir(), "nvium-copy-"));
    try {
      const copy = join(directory, "nvium.node");
      copyFileSync(ADDON, copy);
      const require = createRequire(import.meta.url);
      const other = require(copy);
      if (other === require(ADDON)) throw new Error("the same addon twice");
      process.env.NVIUM_BINDING = copy;
      const { message, exit } = thread("tokens", {});
      delete process.env.NVIUM_BINDING;
      const here = await tokensOf(await load());
      const there = await message;
      await exit;
      say(here === there ? "same tokens" : "other tokens");
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
};

const [, , scenario, argument] = process.argv;
if (isMainThread || scenario !== undefined) await SCENARIOS[scenario](argument ?? "step");

/** A step of a second or so. */
async function shortStep() {
  const session = (await load()).createSession({ extendContext: true, maxTokens: 5000 });
  session.append(PROMPT.slice(0, 1500));
  return session.step();
}
