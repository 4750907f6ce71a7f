// Run under failing.c by allocations.test.ts: every request of the addon for memory is refused once, and then together
// with all that follow it, in load, step, decode, flush, evaluate and behind a fork. Prints what it came to.
import { openSync, readSync, writeSync } from "node:fs";
import { loadModel, NviumError } from "../../dist/index.js";

const [, , directory] = process.argv;
const orders = openSync(process.env.NVIUM_ORDERS, "r+");
const words = new BigInt64Array(4);

function arm(after, forever) {
  // The words the other side writes first: it looks at the first.
  words.set([BigInt(after), forever ? 1n : 0n, 0n, 0n]);
  writeSync(orders, new Uint8Array(words.buffer, 8), 0, 24, 8);
  writeSync(orders, new Uint8Array(words.buffer, 0, 8), 0, 8, 0);
}

/** Requests refused since `arm`. */
function disarm() {
  writeSync(orders, new Uint8Array(new BigInt64Array([-1n]).buffer), 0, 8, 0);
  readSync(orders, new Uint8Array(words.buffer), 0, 32, 0);
  return Number(words[3]);
}

const PROMPT = Array.from({ length: 70 }, (_, i) => 3 + ((i * 11) % 40));
const options = { threads: 1, prefixShare: 0 };

function session(model) {
  const made = model.createSession({ seed: 5, maxPending: 3 });
  made.append(PROMPT);
  return made;
}

async function finish(of) {
  while (of.length < 84) await of.step();
  await of.flush();
  return of.tokens.join(" ");
}

const calls = {
  step: (of) => of.step(),
  stepSync: async (of) => of.stepSync(),
  decode: async (of) => {
    for await (const _ of of.decode(6));
  },
  flush: (of) => of.flush(),
  evaluate: async (_, model) => {
    const { exitProbs } = await model.evaluate(PROMPT, { mixture: true });
    if (Buffer.compare(Buffer.from(exitProbs.buffer), Buffer.from(probs.buffer)) !== 0) {
      throw new Error("other probabilities");
    }
  },
};

const reference = await loadModel(directory, options);
const expected = await finish(session(reference));
const probs = (await reference.evaluate(PROMPT)).exitProbs;
// An idle model gives memory back now and then, and that asks for some: none is idle while requests are refused.
await reference.dispose();
const found = {};

/** `work` with the n-th request refused, for every n; `after` checks what is left. */
async function each(what, before, work, after) {
  const survived = { refused: 0, failed: 0 };
  for (const forever of [false, true]) {
    for (let n = 0; ; n++) {
      const subject = await before();
      let error;
      arm(n, forever);
      try {
        await work(subject);
      } catch (thrown) {
        error = thrown;
      }
      const refused = disarm();
      if (error !== undefined) {
        const typed = error instanceof NviumError && error.code === "ERR_NVIUM_OUT_OF_MEMORY";
        if (!typed || refused === 0) throw new Error(`${what} ${n} ${forever}`, { cause: error });
        survived.failed++;
      }
      await after(subject);
      if (refused === 0) break;
      survived.refused++;
    }
  }
  found[what] = survived;
}

const fresh = async () => {
  const model = await loadModel(directory, options);
  const parent = session(model);
  await parent.step();
  return { model, parent };
};

await each(
  "load",
  async () => undefined,
  async () => (await loadModel(directory, { threads: 2 })).dispose(),
  async () => undefined,
);
for (const [name, call] of Object.entries(calls)) {
  await each(
    name,
    async () => {
      const model = await loadModel(directory, options);
      return { model, of: session(model) };
    },
    ({ of, model }) => call(of, model),
    async ({ model, of }) => {
      if ((await finish(of)) !== expected) throw new Error(`other tokens after ${name}`);
      await of.dispose();
      const { cache, boundary } = model.core.scheduler.memory.pools;
      if (cache.used + boundary.used !== 0) throw new Error(`blocks lost after ${name}`);
      await model.dispose();
    },
  );
}
await each(
  "fork",
  fresh,
  async ({ parent }) => {
    const child = parent.fork();
    for (let i = 0; i < 2; i++) await child.step();
    await child.flush();
  },
  async ({ model, parent }) => {
    if ((await finish(parent)) !== expected) throw new Error("other tokens after fork");
    await model.dispose();
  },
);
await each(
  "other",
  async () => {
    const model = await loadModel(directory, options);
    return { model, other: session(model), of: session(model) };
  },
  async ({ of, other }) => {
    const results = await Promise.allSettled([of.step(), other.step(), of.step(), other.step()]);
    const failed = results.find(({ status }) => status === "rejected");
    if (failed !== undefined) throw failed.reason;
  },
  async ({ model, of, other }) => {
    if ((await finish(of)) !== expected) throw new Error("other tokens");
    if ((await finish(other)) !== expected) throw new Error("other tokens in a neighbour");
    await model.dispose();
  },
);
process.stdout.write(JSON.stringify(found));
