// What batching leaves of N-vium's gain over its dense twin, on machines with other prices of rows and for other exit shares: the lockstep
// of native/model/step.cc, simulated.
//
//   node bench/schedule.js
//
// A pass over a segment costs its bytes as long as it has few rows, and more from `knee` rows on: max(1, rows / knee) times. Every token's row
// passes every segment once, early or late. All step together; those who stay take along what waits of their own, others ride in the room
// that is left, and all tokens share one pass of the head. The twin has 1.06 times the layers and no choice.
import { table } from "./lib/results.js";

const HEAD = 0.29; // of a segment
const TWIN = 1.06;
const MAX_PENDING = 15;
const RIDE = 8;
const STEPS = 4000;

/** Numbers in [0, 1) that repeat. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Tokens of N-vium per unit of time over the twin's, at the same number of sequences. */
function gain(sequences, shares, knee) {
  const draw = random(7);
  const segments = shares.length;
  const cost = (rows) => Math.max(1, rows / knee);
  /** waiting[m][s]: rows of sequence s before segment m. */
  const waiting = shares.map(() => new Array(sequences).fill(0));
  let time = 0;
  for (let step = 0; step < STEPS; step++) {
    const exits = Array.from({ length: sequences }, () => {
      let u = draw();
      const exit = shares.findIndex((share) => {
        u -= share;
        return u < 0;
      });
      return exit === -1 ? segments - 1 : exit;
    });
    const overdue = exits.map((_, s) =>
      waiting.reduce((deepest, rows, m) => (rows[s] >= MAX_PENDING ? m : deepest), 0),
    );
    for (let m = 0; m < segments; m++) {
      const goes = exits.map((exit, s) => m <= Math.max(exit, overdue[s]));
      let rows = 0;
      const moved = goes.map((going, s) => (going ? waiting[m][s] + 1 : 0));
      for (const count of moved) rows += count;
      if (rows === 0) break;
      for (let s = 0; s < sequences && rows < RIDE; s++) {
        if (goes[s]) continue;
        moved[s] = Math.min(waiting[m][s], RIDE - rows);
        rows += moved[s];
      }
      time += cost(rows);
      for (let s = 0; s < sequences; s++) {
        const own = goes[s] ? 1 : 0;
        waiting[m][s] -= moved[s] - own;
        if (m + 1 < segments) waiting[m + 1][s] += moved[s] - own;
        // Its own row waits before the next segment, unless it goes on.
        const further = m + 1 <= Math.max(exits[s], overdue[s]);
        if (own === 1 && m + 1 < segments && !further) waiting[m + 1][s] += 1;
      }
    }
    time += HEAD * cost(sequences);
  }
  const twin = STEPS * (TWIN * segments * cost(sequences) + HEAD * cost(sequences));
  return twin / time;
}

const SHARES = [
  [0.35, 0.15, 0.1, 0.4],
  [0.6, 0.2, 0.1, 0.1],
  [0.12, 0.19, 0.31, 0.38],
  [0.25, 0.25, 0.25, 0.25],
];
const BATCHES = [1, 2, 4, 8, 16, 32];
for (const knee of [8, 16, 64, 256]) {
  table(
    `a pass of ${knee} rows costs as much as one of a single row`,
    ["exit shares", ...BATCHES.map((count) => `${count}`)],
    SHARES.map((shares) => [
      shares.join(" / "),
      ...BATCHES.map((count) => gain(count, shares, knee)),
    ]),
  );
}
