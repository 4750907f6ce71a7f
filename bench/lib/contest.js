/** Sessions that decode in turns, a few tokens each: what the machine does to one it does to all. */
import { decode } from "./models.js";
import { median, rotated, sum } from "./stats.js";

/** Tokens a turn. */
const TURN = 16;

/**
 * @param {readonly import("./models.js").Session[]} sessions
 * @param {number} tokens each decodes
 * @returns {Promise<{ seconds: number, bytes: number, tokens: number }[][]>} by turn, then by session
 */
export async function contest(sessions, tokens) {
  const turns = [];
  for (let round = 0; round * TURN < tokens; round++) {
    const turn = [];
    for (const session of rotated(sessions, round)) {
      turn[sessions.indexOf(session)] = await decode(
        session,
        Math.min(TURN, tokens - round * TURN),
      );
    }
    turns.push(turn);
  }
  return turns;
}

/** What the first of two contestants reached against the second. @param {{ seconds: number, bytes: number, tokens: number }[][]} turns */
export function compare(turns) {
  const total = (who, field) => sum(turns.map((turn) => turn[who]?.[field] ?? 0));
  const tokens = total(0, "tokens");
  const roof = total(1, "bytes") / total(0, "bytes");
  const speedup = total(1, "seconds") / total(0, "seconds");
  return {
    tokensPerSecond: [0, 1].map((who) => total(who, "tokens") / total(who, "seconds")),
    bytesPerToken: [0, 1].map((who) => total(who, "bytes") / tokens),
    speedup,
    roof,
    // Bytes a second against bytes a second, turn by turn: tokens leave where they like, and this does not mind.
    ofRoof: median(turns.map(([a, b]) => a.bytes / a.seconds / (b.bytes / b.seconds))),
  };
}
