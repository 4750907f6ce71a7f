/** The law after every token of a text, at every exit. */
import {
  checkOptions,
  checkSignal,
  checkTokens,
  flag,
  invalid,
  type OptionNames,
  UNBOUNDED,
} from "./checks.js";
import type { ModelCore } from "./core.js";
import { NviumError } from "./errors.js";
import { createMany, type Many } from "./many.js";
import type { NativeCall } from "./native.js";
import { checkLaw } from "./sampling.js";

export interface EvaluateOptions {
  /** Give `exitLogits`. Default false. */
  readonly exitLogits?: boolean;
  /** Give `mixtureLogProbs`. Default false. */
  readonly mixture?: boolean;
  readonly signal?: AbortSignal;
}

/** The laws after each of T tokens: N exits, a vocabulary of V. */
export interface EvaluateResult {
  /** [T * N]: p_k, the probability that the token after position t leaves at exit k. */
  readonly exitProbs: Float32Array;
  /** [N * T * V]: logits of each exit. */
  readonly exitLogits?: Float32Array;
  /** [T * V]: log of the mixture. */
  readonly mixtureLogProbs?: Float32Array;
}

const EVALUATE_OPTIONS: OptionNames<EvaluateOptions> = {
  exitLogits: true,
  mixture: true,
  signal: true,
};

/** Of one text of several. */
export interface ManyLaws extends EvaluateResult {
  /** Index of the text. */
  readonly text: number;
}

const EXACT = checkLaw({}, UNBOUNDED);

export async function evaluate(
  { native, plan, scheduler, segments }: ModelCore,
  tokens: Iterable<number>,
  options: EvaluateOptions,
  name = "tokens",
): Promise<EvaluateResult> {
  const { exitLogits: wantsLogits = false, mixture = false } = checkOptions(
    options,
    EVALUATE_OPTIONS,
  );
  flag("exitLogits", wantsLogits);
  flag("mixture", mixture);
  const signal = checkSignal(options.signal);
  const list = checkTokens(tokens, plan.vocabSize, name);
  if (list.length > plan.contextLength) {
    throw new NviumError(
      "ERR_NVIUM_CONTEXT_FULL",
      `${list.length} tokens are more than the context of ${plan.contextLength}.`,
      { limit: plan.contextLength, needed: list.length },
    );
  }
  const size = list.length * plan.vocabSize;
  const exitProbs = floats(list.length * segments);
  const exitLogits = wantsLogits ? floats(size * segments) : null;
  const mixtureLogProbs = mixture ? floats(size) : null;
  const result = {
    exitProbs,
    ...(exitLogits === null ? {} : { exitLogits }),
    ...(mixtureLogProbs === null ? {} : { mixtureLogProbs }),
  };
  if (list.length === 0) return result;
  const alone = (call: NativeCall) =>
    native.evaluate({ ...call, exitProbs, exitLogits, mixtureLogProbs });
  const sequence = scheduler.open({
    seed: 0n,
    stream: 0,
    maxTokens: list.length,
    maxPending: UNBOUNDED,
  });
  sequence.state.tokens.push(...list);
  sequence.state.generated.push(...list.map(() => 0));
  try {
    const stopTokens = new Uint32Array();
    const ask = { law: EXACT, count: 0, force: -1, stopTokens, signal, alone };
    const { error } = await scheduler.submit(sequence, ask);
    if (error !== undefined) throw error;
  } finally {
    await scheduler.close(sequence);
  }
  return result;
}

/** One text after another, so that no more laws are held than are asked for. */
export function evaluateMany(
  core: ModelCore,
  texts: Iterable<Iterable<number>>,
  options: EvaluateOptions,
): Many<ManyLaws> {
  async function* source(): AsyncGenerator<ManyLaws, void, undefined> {
    if (typeof texts !== "object" || texts === null || !(Symbol.iterator in texts)) {
      throw invalid("texts", "an iterable of texts, each of token ids", texts);
    }
    let text = 0;
    for (const tokens of texts)
      yield { text, ...(await evaluate(core, tokens, options, `texts[${text++}]`)) };
  }
  return createMany(source, (a, b) => a.text - b.text);
}

function floats(count: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(count);
  } catch (cause) {
    const needed = count * 4;
    const message = `Could not allocate ${needed} bytes for the result.`;
    throw new NviumError("ERR_NVIUM_OUT_OF_MEMORY", message, { needed }, cause);
  }
}
