/** Many sequences in one pass: tokens a second of all of them together, against one, and against the dense twin. */
import { open, prompted, withModels } from "../lib/models.js";
import { table } from "../lib/results.js";
import { median, rotated, sum, timed } from "../lib/stats.js";

const PROMPT = 64;
/** Tokens of each sequence a turn, and turns until contexts have grown to 256 and begin anew. */
const TURN = 12;
const LAPS = Math.floor((256 - PROMPT) / TURN);
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
      if (round % LAPS === LAPS - 1) for (const lane of lanes) await lane.rewind(round);
      const turn = [];
      for (const lane of rotated(lanes, round)) turn[lanes.indexOf(lane)] = await lane.run();
      turns.push(turn);
    }
    await Promise.all(lanes.map((lane) => lane.dispose()));
    const rate = ({ tokens, seconds }) => tokens / seconds;
    const bytes = (i) =>
      sum(turns.map((turn) => turn[i].bytes)) / sum(turns.map((turn) => turn[i].tokens));
    const rows = BATCHES.map((sequences, i) => {
      const twin = BATCHES.length + i;
      const roof = bytes(twin) / bytes(i);
      const againstTwin = median(turns.map((turn) => rate(turn[i]) / rate(turn[twin])));
      // Bytes a second against bytes a second, turn by turn: where tokens leave does not matter.
      const ofRoof = median(
        turns.map(({ [i]: a, [twin]: b }) => a.bytes / a.seconds / (b.bytes / b.seconds)),
      );
      return {
        sequences,
        tokensPerSecond: median(turns.map((turn) => rate(turn[i]))),
        againstOne: median(turns.map((turn) => rate(turn[i]) / rate(turn[0]))),
        twinAgainstOne: median(turns.map((turn) => rate(turn[twin]) / rate(turn[BATCHES.length]))),
        againstTwin,
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
  const sessions = [];
  for (let i = 0; i < count; i++) {
    const tokens = Array.from({ length: PROMPT }, (_, p) => (300 + i * 77 + p * 7919) % 32000);
    const { session } = await prompted(model, tokens, { seed: i, prefixCache: false });
    sessions.push(session);
  }
  const bytes = () => sum(sessions.map((session) => session.stats().weightBytes));
  const all = (work) => Promise.all(sessions.map(work));
  return {
    async run() {
      const before = bytes();
      const { seconds } = await timed(() =>
        all(async (session) => {
          for await (const _ of session.decode(TURN));
        }),
      );
      return { seconds, tokens: count * TURN, bytes: bytes() - before };
    },
    async rewind(stream) {
      for (const session of sessions) session.truncate(PROMPT, { stream });
      await all((session) => session.flush());
    },
    dispose: () => all((session) => session.dispose()),
  };
}
