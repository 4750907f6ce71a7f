/** The laws that draws are held against, all from `evaluate()`, and the tests of draws against them. */
import type { Model } from "../../lib/index.js";
import { type Bins, binsOf, pValue } from "./statistics.js";

/** What follows a text: p_k and the logits of every exit. */
export interface Law {
  readonly exits: number;
  readonly vocab: number;
  readonly exitProbs: Float64Array;
  /** [N][V] */
  readonly logits: readonly Float32Array[];
  /** π_mix(v), as the engine mixes it. */
  readonly mixture: Float64Array;
}

export async function lawAfter(model: Model, tokens: readonly number[]): Promise<Law> {
  const { exitProbs, exitLogits, mixtureLogProbs } = await model.evaluate(tokens, {
    exitLogits: true,
    mixture: true,
  });
  const vocab = model.info.vocabSize;
  const exits = model.info.exits.length;
  const last = tokens.length - 1;
  const row = (k: number) => (k * tokens.length + last) * vocab;
  return {
    exits,
    vocab,
    exitProbs: Float64Array.from(exitProbs.subarray(last * exits)),
    logits: Array.from(
      { length: exits },
      (_, k) => exitLogits?.slice(row(k), row(k) + vocab) ?? new Float32Array(),
    ),
    mixture: Float64Array.from(mixtureLogProbs?.subarray(last * vocab) ?? [], Math.exp),
  };
}

export interface Temperatures {
  readonly temperature?: number;
  readonly routerTemperature?: number;
}

/** p_k with the routers' log-odds divided by a temperature. */
export function exitProbsAt(law: Law, routerTemperature = 1): number[] {
  const result: number[] = [];
  let reached = 1;
  let stayed = 1;
  for (const p of law.exitProbs.subarray(0, law.exits - 1)) {
    const odds = (p / (reached - p)) ** (1 / routerTemperature);
    result.push((stayed * odds) / (1 + odds));
    stayed /= 1 + odds;
    reached -= p;
  }
  return [...result, stayed];
}

/** p_k π_k(v) at k * V + v. */
export function jointLaw(law: Law, { temperature = 1, routerTemperature }: Temperatures = {}) {
  const cells = new Float64Array(law.exits * law.vocab);
  const exitProbs = exitProbsAt(law, routerTemperature);
  for (const [k, logits] of law.logits.entries()) {
    const max = logits.reduce((a, b) => Math.max(a, b));
    const weights = Float64Array.from(logits, (logit) => Math.exp((logit - max) / temperature));
    const sum = weights.reduce((a, b) => a + b);
    cells.set(
      weights.map((weight) => ((exitProbs[k] as number) * weight) / sum),
      k * law.vocab,
    );
  }
  return cells;
}

/** What one draw gave: exits are 1-based, `next` is the token after it where a second one was drawn. */
export interface Outcome {
  readonly exit: number;
  readonly token: number;
  readonly next?: number;
}

export type Verdict = Record<string, number>;

/** The p-values of (exit, token) and of the token alone. */
export function judge(
  law: Law,
  outcomes: readonly Outcome[],
  temperatures?: Temperatures,
): Verdict {
  const { vocab } = law;
  const joint = jointLaw(law, temperatures);
  const tokens = new Float64Array(vocab);
  for (const [cell, p] of joint.entries())
    tokens[cell % vocab] = (tokens[cell % vocab] as number) + p;
  const both = binsOf(joint, 100, (cell) => Math.floor(cell / vocab));
  // Where nothing is tempered the engine's own mixture is the law.
  const alone = binsOf(temperatures === undefined ? law.mixture : tokens, 100);
  return {
    exitAndToken: pValue(
      both,
      outcomes.map(({ exit, token }) => (exit - 1) * vocab + token),
    ),
    token: pValue(
      alone,
      outcomes.map(({ token }) => token),
    ),
  };
}

/** First tokens told apart in a test of pairs; those less probable are taken together. */
const FIRST_TOKENS = 256;

/** The laws after each of the most probable first tokens. */
export async function followers(
  model: Model,
  prefix: readonly number[],
  law: Law,
  most = FIRST_TOKENS,
): Promise<Map<number, Law>> {
  const likely = Array.from(law.mixture.keys())
    .sort((a, b) => (law.mixture[b] as number) - (law.mixture[a] as number))
    .slice(0, most);
  const laws = new Map<number, Law>();
  for (const token of likely) laws.set(token, await lawAfter(model, [...prefix, token]));
  return laws;
}

/** The p-value of two consecutive tokens: first tokens in eight groups, pairs by probability inside each. */
export function judgePairs(
  law: Law,
  after: ReadonlyMap<number, Law>,
  outcomes: readonly Outcome[],
): number {
  const { vocab } = law;
  const firsts = [...after.keys()];
  const place = new Map(firsts.map((token, i) => [token, i]));
  // One cell for all pairs with another first token.
  const cells = new Float64Array(firsts.length * vocab + 1);
  let rest = 1;
  for (const [token, next] of after) {
    const p = law.mixture[token] as number;
    rest -= p;
    cells.set(
      next.mixture.map((q) => p * q),
      (place.get(token) as number) * vocab,
    );
  }
  cells[firsts.length * vocab] = Math.max(rest, 0);
  const eighths = binsOf(
    Float64Array.from(firsts, (token) => law.mixture[token] as number),
    8,
  );
  const bins: Bins = binsOf(cells, 128, (cell) => eighths.of[Math.floor(cell / vocab)] ?? 8);
  return pValue(
    bins,
    outcomes.map(({ token, next = 0 }) => {
      const i = place.get(token);
      return i === undefined ? firsts.length * vocab : i * vocab + next;
    }),
  );
}
