/** How far one model's laws are from another's, over texts: what a quantised model differs by from the one it was made of. */
import type { EvaluateResult } from "./evaluate.js";
import type { Model } from "./model.js";

/** The models must have the same vocabulary and exits. */
type Evaluated = Pick<Model, "info" | "evaluate">;

/** Means over positions; divergences in nats. */
export interface Difference {
  /** Positions compared. */
  readonly tokens: number;
  /** The mixtures: KL(first ‖ second). */
  readonly divergence: number;
  /** Share of positions where both mixtures have the same likeliest token. */
  readonly agreement: number;
  /** Of the first and of the second model's mixture, on these texts. */
  readonly perplexity: readonly [number, number];
  /** One an exit. */
  readonly exits: readonly ExitDifference[];
}

export interface ExitDifference {
  /** KL(first ‖ second) of this exit's law of tokens. */
  readonly divergence: number;
  /** Share of positions where both have the same likeliest token at this exit. */
  readonly agreement: number;
  /** The probability of leaving here, in the first and in the second model. */
  readonly share: readonly [number, number];
}

export interface CompareOptions {
  readonly signal?: AbortSignal;
  /** Called after every text with the positions compared so far. */
  readonly onProgress?: (tokens: number) => void;
}

/** Compares two models over texts, each from its start and of at least two tokens. Rejects as `Model.evaluate` does. */
export async function compare(
  first: Evaluated,
  second: Evaluated,
  texts: Iterable<readonly number[]>,
  options: CompareOptions = {},
): Promise<Difference> {
  const { vocabSize, exits } = first.info;
  const sums = exits.map(() => ({
    divergence: 0,
    agreement: 0,
    share: [0, 0] as [number, number],
  }));
  const whole = { divergence: 0, agreement: 0, surprise: [0, 0] as [number, number] };
  let tokens = 0;
  for (const text of texts) {
    const laws = await lawsOf([first, second], text, options.signal);
    // The last position predicts a token that is not there.
    for (let t = 0; t + 1 < text.length; t++) {
      const rows = (of: "exitLogits" | "mixtureLogProbs", index: number) =>
        laws.map((law) => row(law[of], index, vocabSize)) as [Float32Array, Float32Array];
      const [a, b] = rows("mixtureLogProbs", t);
      const next = text[t + 1] ?? 0;
      const between = distance(a, b);
      whole.divergence += between.divergence;
      whole.agreement += between.agreement;
      whole.surprise[0] -= a[next] ?? 0;
      whole.surprise[1] -= b[next] ?? 0;
      for (const [k, sum] of sums.entries()) {
        const here = distance(...rows("exitLogits", k * text.length + t));
        sum.divergence += here.divergence;
        sum.agreement += here.agreement;
        laws.forEach(({ exitProbs }, i) => {
          sum.share[i as 0 | 1] += exitProbs[t * exits.length + k] ?? 0;
        });
      }
    }
    tokens += text.length - 1;
    options.onProgress?.(tokens);
  }
  return {
    tokens,
    divergence: whole.divergence / tokens,
    agreement: whole.agreement / tokens,
    perplexity: [Math.exp(whole.surprise[0] / tokens), Math.exp(whole.surprise[1] / tokens)],
    exits: sums.map(({ divergence, agreement, share }) => ({
      divergence: divergence / tokens,
      agreement: agreement / tokens,
      share: [share[0] / tokens, share[1] / tokens],
    })),
  };
}

async function lawsOf(
  models: readonly Evaluated[],
  text: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Required<EvaluateResult>[]> {
  const laws: Required<EvaluateResult>[] = [];
  for (const model of models) {
    const options = { exitLogits: true, mixture: true, ...(signal && { signal }) };
    laws.push((await model.evaluate(text, options)) as Required<EvaluateResult>);
  }
  return laws;
}

const row = (rows: Float32Array, index: number, width: number) =>
  rows.subarray(index * width, (index + 1) * width);

/** KL(first ‖ second) of two laws given by their logits, and whether (1 or 0) the likeliest token is the same. */
function distance(first: Float32Array, second: Float32Array) {
  const [a, b] = [likeliest(first), likeliest(second)];
  const [most, other] = [first[a] as number, second[b] as number];
  let sum = 0;
  let sumOfOther = 0;
  let difference = 0;
  for (let v = 0; v < first.length; v++) {
    const [x, y] = [(first[v] as number) - most, (second[v] as number) - other];
    const weight = Math.exp(x);
    sum += weight;
    sumOfOther += Math.exp(y);
    difference += weight * (x - y);
  }
  const divergence = difference / sum - Math.log(sum) + Math.log(sumOfOther);
  return { divergence, agreement: Number(a === b) };
}

function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let v = 1; v < logits.length; v++) {
    if ((logits[v] as number) > (logits[best] as number)) best = v;
  }
  return best;
}
