/** A prompt of 2,000 tokens arrives while seven sequences decode: how long they wait between tokens, and it for its first. */
import { open, prompted, withModels } from "../lib/models.js";
import { table } from "../lib/results.js";
import { median, quantile, timed } from "../lib/stats.js";

const SEQUENCES = 7;
const PROMPT = 2000;
const QUIET = 24; // tokens of each before the newcomer

const tokensFrom = (seed, count) =>
  Array.from({ length: count }, (_, i) => (300 + seed * 977 + i * 7919) % 32000);

/** @param {{ shape: string, threads: number, rounds: number }} options */
export function newcomer({ shape, threads, rounds }) {
  return withModels([open(shape, threads)], async (model) => {
    const samples = [];
    for (let round = 0; round < rounds; round++) samples.push(await once(model, round));
    const of = (field) => median(samples.map((sample) => sample[field]));
    const result = {
      sequences: SEQUENCES,
      prompt: PROMPT,
      before: of("before"),
      beside: of("beside"),
      besideWorst: of("worst"),
      besideRatio: median(samples.map((s) => s.beside / s.before)),
      alone: of("alone"),
      first: of("first"),
      firstRatio: median(samples.map((s) => s.first / s.alone)),
      timeline: samples.at(-1)?.timeline,
    };
    table(
      `A prompt of ${PROMPT} tokens beside ${SEQUENCES} that decode, ${shape}, ${threads} threads, ms`,
      ["", "alone", "together", "ratio"],
      [
        ["between tokens, median", result.before * 1e3, result.beside * 1e3, result.besideRatio],
        ["time to its first token", result.alone * 1e3, result.first * 1e3, result.firstRatio],
      ],
    );
    return result;
  });
}

/** One newcomer, alone and beside others, with the same draws. */
async function once(model, seed) {
  const prompt = tokensFrom(90 + seed, PROMPT);
  const step = async () => {
    const session = model.createSession({ seed });
    session.append(prompt);
    const { seconds } = await timed(() => session.step());
    return { session, seconds };
  };
  const alone = await step();
  await alone.session.dispose();

  const began = performance.now();
  const now = () => (performance.now() - began) / 1e3;
  /** When each sequence had its tokens. */
  const times = [];
  let arrived = Number.POSITIVE_INFINITY;
  let done = false;
  const others = [];
  for (let i = 0; i < SEQUENCES; i++) {
    others.push((await prompted(model, tokensFrom(i, 64), { seed: 100 * seed + i })).session);
  }
  let newcomer;
  await Promise.all(
    others.map(async (session, i) => {
      times[i] = [now()];
      while (!done) {
        await session.step();
        times[i].push(now());
        if (i === 0 && times[i].length === QUIET) {
          arrived = now();
          newcomer = step().then((value) => {
            done = true;
            return value;
          });
        }
      }
    }),
  );
  const { session, seconds: first } = await newcomer;
  await Promise.all([session, ...others].map((one) => one.dispose()));
  const gaps = times.flatMap((own) => own.slice(1).map((at, i) => ({ at, gap: at - own[i] })));
  const before = gaps.filter(({ at }) => at <= arrived).map(({ gap }) => gap);
  const beside = gaps.filter(({ at, gap }) => at - gap >= arrived).map(({ gap }) => gap);
  return {
    alone: alone.seconds,
    first,
    before: median(before),
    beside: median(beside),
    worst: quantile(beside, 0.99),
    timeline: times[0].slice(1).map((at, i) => [at - arrived, at - times[0][i]]),
  };
}
