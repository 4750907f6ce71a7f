/** Many sequences in one pass: tokens a second of all of them together, against one, and against the dense twin. */
import { open, prompted, withModels } from "../lib/models.js";
import { table } from "../lib/results.js";
import { median, rotated, sum, timed } from "../lib/stats.js";

const PROMPT = 64;
const CONTEXT = 256;
/** Tokens of each sequence a turn; of few sequences more, since where they leave is chance. */
const turnOf = (count) => Math.max(12, Math.ceil(48 / count));
const BATCHES = [1, 2, 4, 8, 16];

/** @param {{ shape: string, threads: number, rounds: number }} options */
export function batch({ shape, threads, rounds }) {
  return withModels([open(shape, threads), open(`${shape}-dense`, threads)], async (...models) => {
    const lanes = [];
    for (const model of models) {
      for (const count of BATCHES) lanes.push(await createLane(model, count));
    }
    const turns = [];
    for (let round = 0; round < rounds; round++) {
      const turn = [];
      for (const lane of rotated(lanes, round)) turn[lanes.indexOf(lane)] = await lane.run(round);
      turns.push(turn);
    }
    await Promise.all(lanes.map((lane) => lane.dispose()));
    const total = (i, field) => sum(turns.map((turn) => turn[i][field]));
    const bytes = (i) => total(i, "bytes") / total(i, "tokens");
    const rate = (i) => total(i, "tokens") / total(i, "seconds");
    const rows = BATCHES.map((sequences, i) => {
      const twin = BATCHES.length + i;
      const roof = bytes(twin) / bytes(i);
      // Bytes a second against bytes a second, turn by turn: where tokens leave does not matter.
      const ofRoof = median(
        turns.map(({ [i]: a, [twin]: b }) => a.bytes / a.seconds / (b.bytes / b.seconds)),
      );
      return {
        sequences,
        tokensPerSecond: rate(i),
        againstOne: rate(i) / rate(0),
        twinAgainstOne: rate(twin) / rate(BATCHES.length),
        againstTwin: rate(i) / rate(twin),
        roof,
        ofRoof,
      };
    });
    table(
      `${shape}, sequences in one pass, contexts up to 256, ${threads} threads`,
      ["sequences", "tokens/s", "× one", "twin × one", "× twin", "roof", "of the roof"],
      rows.map((row) => Object.values(row)),
    );
    return rows;
  });
}

/** Sequences that decode together. */
async function createLane(model, count) {
  const turn = turnOf(count);
  const sessions = [];
  for (let i = 0; i < count; i++) {
    const tokens = Array.from({ length: PROMPT }, (_, p) => (300 + i * 77 + p * 7919) % 32000);
    const { session } = await prompted(model, tokens, { seed: i, prefixCache: false });
    sessions.push(session);
  }
  const bytes = () => sum(sessions.map((session) => session.stats().weightBytes));
  const all = (work) => Promise.all(sessions.map(work));
  return {
    async run(round) {
      if ((sessions[0]?.length ?? 0) + turn > CONTEXT) {
        for (const session of sessions) session.truncate(PROMPT, { stream: round });
        await all((session) => session.flush());
      }
      const before = bytes();
      const { seconds } = await timed(() =>
        all(async (session) => {
          for await (const _ of session.decode(turn));
        }),
      );
      return { seconds, tokens: count * turn, bytes: bytes() - before };
    },
    dispose: () => all((session) => session.dispose()),
  };
}
