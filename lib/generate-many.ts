/** Texts that follow several prompts, several of each: one pass over the weights serves them all. */
import {
  checkOptions,
  checkSeed,
  checkSignal,
  integer,
  invalid,
  type OptionNames,
  UNBOUNDED,
} from "./checks.js";
import {
  checkContinuation,
  checkTimeLimit,
  continueText,
  type GenerateResult,
  printable,
} from "./continuation.js";
import { createEnding, type Ending, LEFT, TIME } from "./ending.js";
import {
  encodePrompt,
  GENERATE_OPTIONS,
  type GenerateOptions,
  type Prompt,
  sessionOptions,
  type TextModel,
  wordsAfter,
} from "./generate.js";
import { asTheyEnd, createMany, type Many } from "./many.js";
import type { Session } from "./session.js";

/** `timeLimit` and `signal` are of all together, everything else of each text. */
export interface GenerateManyOptions extends GenerateOptions {
  /**
   * Texts for each prompt. They share the computation of the prompt and differ by their stream: choice c draws as
   * `generate` does with `stream + c`. Default 1.
   */
  readonly n?: number;
}

export interface ManyResult extends GenerateResult {
  /** Index of the prompt. */
  readonly prompt: number;
  /** 0 … n - 1. */
  readonly choice: number;
}

const MANY_OPTIONS: OptionNames<GenerateManyOptions> = { ...GENERATE_OPTIONS, n: true };

/** Texts under way: as many as the scheduler puts in one call. */
const AT_ONCE = 256;

export function generateMany(
  model: TextModel,
  prompts: Iterable<Prompt>,
  options: GenerateManyOptions,
): Many<ManyResult> {
  async function* source(): AsyncGenerator<ManyResult, void, undefined> {
    const { n = 1, stream = 0 } = checkOptions(options, MANY_OPTIONS);
    integer("stream", stream, 0, UNBOUNDED);
    integer("n", n, 1, UNBOUNDED - stream + 1);
    if (typeof prompts !== "object" || prompts === null || !(Symbol.iterator in prompts)) {
      throw invalid("prompts", "an iterable of prompts", prompts);
    }
    const { info, checkpointText } = model;
    checkContinuation(options, info.eosTokens, info.vocabSize, checkpointText);
    const timeLimit = checkTimeLimit(options.timeLimit);
    const ending = createEnding(checkSignal(options.signal), timeLimit);
    const tasks = Array.from(prompts, (prompt, index) => ({
      weight: n,
      run: (emit: (result: ManyResult) => void) =>
        continuePrompt(model, prompt, index, { ...options, n, stream }, ending, emit),
    }));
    try {
      yield* asTheyEnd(tasks, AT_ONCE, ending.leave);
    } finally {
      ending.close();
    }
  }
  return createMany(source, (a, b) => a.prompt - b.prompt || a.choice - b.choice);
}

/** All choices of one prompt. */
async function continuePrompt(
  model: TextModel,
  prompt: Prompt,
  index: number,
  options: GenerateManyOptions & { readonly n: number; readonly stream: number },
  ending: Ending,
  emit: (result: ManyResult) => void,
): Promise<void> {
  const { n, stream } = options;
  const { promptTokens, ends } = await encodePrompt(model, prompt, options, `prompts[${index}]`);
  const { info, checkpointText } = model;
  const how = checkContinuation(options, ends, info.vocabSize, checkpointText);
  // One seed for all choices: they differ by stream.
  const seed = checkSeed(options.seed);
  const sessions = [model.createSession({ ...sessionOptions(options), seed })];
  const [first] = sessions as [Session];
  try {
    first.append(promptTokens);
    if (n > 1) await compute(first, ending);
    for (let c = 1; c < n; c++) sessions.push(first.fork({ stream: stream + c }));
    const choices = sessions.map(async (session, choice) => {
      const words = wordsAfter(model, promptTokens);
      const chunks = continueText(session, how, promptTokens, words, ending, () => undefined);
      const result = await last(chunks).catch((error: unknown) => {
        ending.leave();
        throw error;
      });
      await session.dispose();
      // One that was left is not asked for any more.
      if (result.finishReason !== "left") emit(printable({ prompt: index, choice, ...result }));
    });
    // None is left behind with a session that is gone.
    await Promise.allSettled(choices);
    await Promise.all(choices);
  } finally {
    await Promise.all(sessions.map((session) => session.dispose()));
  }
}

/** Runs the prompt through every segment, so that forks find it done. What ends it is met again by those who go on. */
async function compute(session: Session, { signal }: Ending): Promise<void> {
  try {
    await session.flush({ signal });
  } catch (error) {
    if (error !== TIME && error !== LEFT) throw error;
  }
}

async function last(chunks: ReturnType<typeof continueText>): Promise<GenerateResult> {
  for (;;) {
    const next = await chunks.next();
    if (next.done) return next.value;
  }
}
