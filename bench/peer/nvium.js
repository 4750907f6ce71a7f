/** The contestant: nvium through its public API. Arguments: directory, threads, type of the matrices. */
import { loadModel } from "../../dist/index.js";
import { CONTEXT, MOST, seconds, serve, token } from "./contestant.js";

const [directory, threads, dtype] = process.argv.slice(2);
const model = await loadModel(directory, {
  device: "cpu",
  threads: Number(threads),
  dtype,
  prefixShare: 0,
});
const session = model.createSession({ seed: 1, maxTokens: MOST });
const tokens = (begin, end) => Array.from({ length: end - begin }, (_, i) => token(begin + i));
// The last token of a session waits for the step that computes its row: hence one more.
session.append(tokens(0, CONTEXT + 1));
await session.flush();

serve({
  async decode(count) {
    if (session.length + count > MOST) session.truncate(CONTEXT + 1);
    return seconds(async () => {
      for await (const _ of session.decode(count));
    });
  },
  async rows(k) {
    let last = 0;
    for (let i = 0; i < 2; i++) {
      session.truncate(CONTEXT + 1);
      session.append(tokens(CONTEXT + 1, CONTEXT + k));
      last = await seconds(() => session.step());
    }
    session.truncate(CONTEXT + 1);
    return last;
  },
  async prompt(length) {
    const fresh = model.createSession({ seed: 1, maxTokens: MOST });
    fresh.append(tokens(0, length));
    const time = await seconds(() => fresh.step());
    await fresh.dispose();
    return time;
  },
});
