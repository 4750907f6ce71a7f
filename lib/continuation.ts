/** The generation loop: a session that holds a prompt goes on, chunk by chunk, until something ends it. */
import { checkTokens, flag, integer, invalid, type OptionNames } from "./checks.js";
import { type Ending, LEFT, TIME } from "./ending.js";
import { NviumError } from "./errors.js";
import { SAMPLING_OPTIONS, type SamplingOptions } from "./sampling.js";
import type { Stats } from "./stats.js";
import type { CheckpointText } from "./text/load.js";
import { createStopMatcher } from "./text/stop.js";
import type { TextStream } from "./text/stream.js";

export interface ContinueOptions extends SamplingOptions {
  /** New tokens at the most; the context may end earlier. Default 256. */
  readonly maxNewTokens?: number;
  /**
   * Stop strings and tokens that end are looked for from the token of this number on; the law is the same. At most
   * `maxNewTokens`. Default 0.
   */
  readonly minNewTokens?: number;
  /** Text that ends the generation, itself not given out; looked for across tokens. Default: none. */
  readonly stop?: string | readonly string[];
  /** Tokens that end the generation. Default: the model's end-of-text tokens; for messages, also the one that ends a turn. */
  readonly eosTokens?: readonly number[];
  /** No token ends the generation; stop strings do. Excludes `eosTokens`. Default false. */
  readonly ignoreEos?: boolean;
  /**
   * Milliseconds, above 0 and below 2^31, from when it is asked for to when it ends with what there is, wherever it has come
   * to. Default: no limit.
   */
  readonly timeLimit?: number;
  /** Aborting makes the iteration and `result()` reject with the signal's reason. */
  readonly signal?: AbortSignal;
}

export const CONTINUE_OPTIONS: OptionNames<ContinueOptions> = {
  ...SAMPLING_OPTIONS,
  maxNewTokens: true,
  minNewTokens: true,
  stop: true,
  eosTokens: true,
  ignoreEos: true,
  timeLimit: true,
  signal: true,
};

/** One token's worth. Text may lag behind: half a character, or what may begin a stop string, is held back. */
export interface Chunk {
  readonly text: string;
  readonly tokens: readonly number[];
  /** The exit each of `tokens` left at, 1-based; N is full depth. */
  readonly exits: readonly number[];
}

/** `JSON.stringify` takes it: the seed becomes a text of its digits, which `seed` accepts. */
export interface GenerateResult extends Chunk {
  /**
   * An end-of-text token, a stop string, the limit of tokens, the end of the context, the limit of time, or a loop that
   * was left early.
   */
  readonly finishReason: "eos" | "stop" | "length" | "context" | "time" | "left";
  /** Tokens of the prompt; none where it was left before they were known. */
  readonly promptTokens: readonly number[];
  /** With it the same prompt gives the same text. */
  readonly seed: bigint;
  readonly stats: Stats;
}

/** What goes on: a session. */
export interface Continued {
  readonly length: number;
  readonly maxTokens: number;
  readonly seed: bigint;
  stats(): Stats;
  decode(
    count: number,
    options: SamplingOptions & { stopTokens?: Iterable<number>; signal?: AbortSignal },
  ): AsyncGenerator<{ readonly token: number; readonly exit: number }, void, undefined>;
}

/** Where a text ends and how it is drawn, checked. */
export interface Continuation {
  readonly sampling: SamplingOptions;
  readonly maxNewTokens: number;
  readonly minNewTokens: number;
  readonly ends: readonly number[];
  readonly stops: readonly string[];
  /** Special tokens that are stop strings. */
  readonly stopTokens: readonly number[];
}

/** Milliseconds, or undefined. */
export function checkTimeLimit(timeLimit: unknown): number | undefined {
  if (timeLimit === undefined) return undefined;
  if (typeof timeLimit === "number" && timeLimit > 0 && timeLimit < 2 ** 31) return timeLimit;
  throw invalid("timeLimit", "a number of milliseconds above 0 and below 2^31", timeLimit);
}

/** The names of options have been checked. `ends` is what ends a text where the caller does not say. */
export function checkContinuation(
  options: ContinueOptions,
  ends: readonly number[],
  vocabSize: number,
  { tokenizer }: Pick<CheckpointText, "tokenizer">,
): Continuation {
  const { maxNewTokens = 256, minNewTokens = 0, stop = [], ignoreEos = false } = options;
  const { temperature, topK, greedy, routerTemperature, router } = options;
  integer("maxNewTokens", maxNewTokens, 0, Number.MAX_SAFE_INTEGER);
  integer("minNewTokens", minNewTokens, 0, maxNewTokens);
  if (flag("ignoreEos", ignoreEos) && options.eosTokens !== undefined) {
    throw invalid("ignoreEos", "false or absent where eosTokens are given", true);
  }
  const stops = typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(stops)) throw invalid("stop", "a text or a list of texts", stop);
  createStopMatcher(stops);
  if (stops.length > 0 && tokenizer === null) {
    throw new NviumError(
      "ERR_NVIUM_TOKENIZER",
      "Stop strings need a tokenizer, which the checkpoint does not have.",
      { file: null },
    );
  }
  return {
    sampling: {
      ...(temperature === undefined ? {} : { temperature }),
      ...(topK === undefined ? {} : { topK }),
      ...(greedy === undefined ? {} : { greedy }),
      ...(routerTemperature === undefined ? {} : { routerTemperature }),
      ...(router === undefined ? {} : { router }),
    },
    maxNewTokens,
    minNewTokens,
    ends: ignoreEos ? [] : checkTokens(options.eosTokens ?? ends, vocabSize, "eosTokens"),
    stops,
    stopTokens: stops.flatMap((text: string) => {
      // Special tokens have no text in which a stop string could be found: they are stopped at by themselves.
      const token = tokenizer?.added.get(text);
      return token?.special === true ? [token.id] : [];
    }),
  };
}

/** Without a tokenizer tokens have no text. */
export const NO_WORDS: TextStream = { push: () => "", end: () => "" };

/**
 * Yields the chunks, returns the result; hands it to `left` when the loop over it is left early. The session holds the
 * prompt and goes on from its end; what ends it is also looked for while somebody waits for the next chunk.
 */
export async function* continueText(
  session: Continued,
  { sampling, maxNewTokens, minNewTokens, ends, stops, stopTokens }: Continuation,
  promptTokens: readonly number[],
  words: TextStream,
  { signal }: Ending,
  left: (result: GenerateResult) => void,
): AsyncGenerator<Chunk, GenerateResult, undefined> {
  const tokens: number[] = [];
  const exits: number[] = [];
  const matcher = createStopMatcher(stops);
  const room = session.maxTokens - session.length;
  const most = Math.min(maxNewTokens, room);
  let text = "";
  let reason: GenerateResult["finishReason"] = room < maxNewTokens ? "context" : "length";
  /** Whether a stop string was found, so that nothing held back is given out. */
  let cut = false;
  /** Whether the body ended by itself: it returned or threw. */
  let ended = false;
  const finish = (finishReason: GenerateResult["finishReason"]): GenerateResult => {
    ended = true;
    const { seed } = session;
    return printable({
      text,
      tokens,
      exits,
      finishReason,
      promptTokens,
      seed,
      stats: session.stats(),
    });
  };
  /** Before this many tokens nothing ends the text. */
  const free = Math.min(Math.max(minNewTokens - 1, 0), most);
  const endings = [...ends, ...stopTokens];
  async function* steps() {
    if (free > 0) yield* session.decode(free, { ...sampling, signal });
    yield* session.decode(most - free, { ...sampling, signal, stopTokens: endings });
  }
  try {
    try {
      for await (const { token, exit } of steps()) {
        tokens.push(token);
        exits.push(exit);
        const said = words.push(token);
        const heeded = tokens.length > free;
        const found = heeded ? matcher.push(said) : { text: said, match: null };
        text += found.text;
        yield { text: found.text, tokens: [token], exits: [exit] };
        if (found.match !== null) {
          reason = "stop";
          cut = true;
          break;
        }
        // After an end the loop ends by itself.
        if (heeded && ends.includes(token)) reason = "eos";
        else if (heeded && stopTokens.includes(token)) reason = "stop";
        else if (tokens.length < most && fromOutside(signal.reason)) throw signal.reason;
      }
    } catch (error) {
      if (!fromOutside(error)) throw error;
      reason = error === TIME ? "time" : "left";
    }
    if (!cut && reason !== "left") {
      // What was held back: the end of a character or the beginning of a stop string that never came.
      const last = matcher.push(words.end());
      const tail = last.match === null ? last.text + matcher.end() : last.text;
      text += tail;
      if (tail !== "") yield { text: tail, tokens: [], exits: [] };
      if (last.match !== null) reason = "stop";
    }
    return finish(reason);
  } catch (error) {
    ended = true;
    throw error;
  } finally {
    if (!ended) left(finish("left"));
  }
}

function fromOutside(reason: unknown): boolean {
  return reason === TIME || reason === LEFT;
}

/** The same result, which JSON can hold: a seed may be larger than its numbers. */
export function printable<T extends GenerateResult>(result: T): T {
  return Object.defineProperty(result, "toJSON", {
    value(this: T) {
      return { ...this, seed: String(this.seed) };
    },
  });
}
