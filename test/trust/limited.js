// Run under failing.c by allocations.test.ts: beyond a limit every request for memory is refused, as often as it is made. Calls
// that need more fail and leave nothing, and calls below the limit go on. Prints what it came to.
import { openSync, writeSync } from "node:fs";
import { loadModel, NviumError } from "../../dist/index.js";

const [, , directory] = process.argv;
const orders = openSync(process.env.NVIUM_ORDERS, "r+");
const limit = (bytes) =>
  writeSync(orders, new Uint8Array(new BigInt64Array([BigInt(bytes)]).buffer), 0, 8, 32);

const PROMPT = Array.from({ length: 70 }, (_, i) => 3 + ((i * 11) % 40));
const LONG = { extendContext: true, maxTokens: 500_000 };

async function tokens(session) {
  for await (const _ of session.decode(20));
  return session.tokens.join(" ");
}

function small(model) {
  const session = model.createSession({ seed: 5 });
  session.append(PROMPT);
  return session;
}

const model = await loadModel(directory, { threads: 1, prefixShare: 0 });
const first = small(model);
const expected = await tokens(first);
await first.dispose();
const held = () => JSON.stringify(model.info.memory);
const found = { failed: 0, same: 0 };

const calls = {
  step: (session) => session.step(),
  stepSync: async (session) => session.stepSync(),
  decode: async (session) => {
    for await (const _ of session.decode(6));
  },
  flush: (session) => session.flush(),
};
for (const call of Object.values(calls)) {
  for (const megabytes of [0, 40, 150]) {
    const before = small(model);
    await before.step();
    const large = model.createSession({ seed: 1, ...LONG });
    large.append(Array.from({ length: 400_000 }, (_, i) => 3 + (i % 40)));
    await model.trim();
    const memory = held();
    limit(megabytes * 2 ** 20);
    for (let again = 0; again < 2; again++) {
      try {
        await call(large);
      } catch (error) {
        if (!(error instanceof NviumError) || error.code !== "ERR_NVIUM_OUT_OF_MEMORY") throw error;
        found.failed++;
      }
      if (held() !== memory) throw new Error(`held ${memory} before, ${held()} afterwards`);
    }
    // The large one is still there.
    await before.step();
    before.truncate(PROMPT.length);
    for (const session of [before, small(model)]) {
      if ((await tokens(session)) === expected) found.same++;
      await session.dispose();
    }
    await large.dispose();
    limit(-1);
  }
}
await model.dispose();
process.stdout.write(JSON.stringify(found));
