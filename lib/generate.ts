/** The generation loop: text in, chunks of text out. */
import { checkOptions, checkTokens, integer, invalid } from "./checks.js";
import { NviumError } from "./errors.js";
import type { SamplingOptions } from "./sampling.js";
import type { Session, SessionOptions } from "./session.js";
import type { Stats } from "./stats.js";
import type { ChatMessage, ChatOptions } from "./text/chat.js";
import type { CheckpointText } from "./text/load.js";
import { createStopMatcher } from "./text/stop.js";
import type { EncodeOptions, Tokenizer } from "./text/tokenizer.js";

export interface GenerateOptions
  extends SamplingOptions,
    Pick<SessionOptions, "seed" | "stream" | "maxPending"> {
  /** New tokens at the most; the context may end earlier. Default 256. */
  readonly maxNewTokens?: number;
  /** Text that ends the generation, itself not given out; looked for across tokens. Default: none. */
  readonly stop?: string | readonly string[];
  /** Tokens that end the generation. Default: the model's end-of-text tokens; for messages, also the one that ends a turn. */
  readonly eosTokens?: readonly number[];
  /** How messages become the prompt. Default: with what opens the assistant's turn, without tools. */
  readonly chat?: ChatOptions;
  /** Aborting makes the iteration and `result()` reject with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** One token's worth. Text may lag behind: half a character, or what may begin a stop string, is held back. */
export interface Chunk {
  readonly text: string;
  readonly tokens: readonly number[];
  /** The exit each of `tokens` left at, 1-based; N is full depth. */
  readonly exits: readonly number[];
}

export interface GenerateResult extends Chunk {
  /** An end-of-text token, a stop string, the limit of tokens, or a loop that was left early. */
  readonly finishReason: "eos" | "stop" | "length" | "left";
  /** Tokens of the prompt. */
  readonly promptTokens: readonly number[];
  /** With it the same prompt gives the same text. */
  readonly seed: bigint;
  readonly stats: Stats;
}

/**
 * A generation, started by iterating it (once) or by asking for its result. Leaving the loop ends the work; `result()`
 * then resolves with what there was.
 */
export interface Generation extends AsyncIterable<Chunk> {
  result(): Promise<GenerateResult>;
  /** All of the text. */
  text(): Promise<string>;
}

/** What generating text needs of a model. */
export interface TextModel {
  readonly info: { readonly eosTokens: readonly number[]; readonly vocabSize: number };
  readonly tokenizer: Pick<Tokenizer, "stream">;
  encode(text: string, options?: EncodeOptions): Promise<number[]>;
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatOptions): Promise<string>;
  readonly checkpointText: CheckpointText;
  createSession(options?: SessionOptions): Session;
}

export function generate(
  model: TextModel,
  prompt: string | readonly number[] | readonly ChatMessage[],
  options: GenerateOptions,
): Generation {
  /** Whether somebody has asked for the first chunk. */
  let begun = false;
  let settle: { resolve(result: GenerateResult): void; reject(reason: unknown): void } | undefined;
  const outcome = new Promise<GenerateResult>((resolve, reject) => {
    settle = { resolve, reject };
  });
  // Who only iterates gets errors from the loop.
  outcome.catch(() => undefined);

  async function* chunks(): AsyncGenerator<Chunk, void, undefined> {
    if (begun) throw new NviumError("ERR_NVIUM_BUSY", "A generation can be iterated once.");
    begun = true;
    try {
      const encoded = await encodePrompt(model, prompt, options);
      const finish = yield* run(model, encoded, options, (result) => settle?.resolve(result));
      settle?.resolve(finish);
    } catch (reason) {
      settle?.reject(reason);
      throw reason;
    }
  }

  const result = async () => {
    if (!begun) for await (const _ of chunks());
    return outcome;
  };
  return {
    [Symbol.asyncIterator]: chunks,
    result,
    text: async () => (await result()).text,
  };
}

/** Yields the chunks, returns the result; hands it to `left` when the loop over it is left early. */
async function* run(
  model: TextModel,
  { promptTokens, ends: own }: EncodedPrompt,
  options: GenerateOptions,
  left: (result: GenerateResult) => void,
): AsyncGenerator<Chunk, GenerateResult, undefined> {
  const { maxNewTokens = 256, stop = [], eosTokens = own } = checkOptions(options);
  const { seed, stream, maxPending, ...rest } = options;
  integer("maxNewTokens", maxNewTokens, 0, Number.MAX_SAFE_INTEGER);
  const ends = checkTokens(eosTokens, model.info.vocabSize, "eosTokens");
  const stopTexts = typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(stopTexts)) throw invalid("stop", "a text or a list of texts", stop);
  const stops = createStopMatcher(stopTexts);
  const stopTokens = specialTokens(model, stopTexts);
  const session = model.createSession({
    ...(seed === undefined ? {} : { seed }),
    ...(stream === undefined ? {} : { stream }),
    ...(maxPending === undefined ? {} : { maxPending }),
  });
  const tokens: number[] = [];
  const exits: number[] = [];
  let text = "";
  let reason: GenerateResult["finishReason"] = "length";
  /** Whether a stop string was found, so that nothing held back is given out. */
  let cut = false;
  /** Whether the body ended by itself: it returned or threw. */
  let ended = false;
  const finish = (finishReason: GenerateResult["finishReason"]): GenerateResult => {
    ended = true;
    const { seed } = session;
    return { text, tokens, exits, finishReason, promptTokens, seed, stats: session.stats() };
  };
  try {
    session.append(promptTokens);
    const count = Math.min(maxNewTokens, session.maxTokens - session.length);
    const words = model.tokenizer.stream({ skipSpecialTokens: true, after: promptTokens });
    for await (const step of session.decode(count, {
      ...sampling(rest),
      stopTokens: [...ends, ...stopTokens],
    })) {
      tokens.push(step.token);
      exits.push(step.exit);
      const found = stops.push(words.push(step.token));
      text += found.text;
      yield { text: found.text, tokens: [step.token], exits: [step.exit] };
      if (found.match !== null) {
        reason = "stop";
        cut = true;
        break;
      }
      // The loop ends by itself here.
      if (ends.includes(step.token)) reason = "eos";
      else if (stopTokens.includes(step.token)) reason = "stop";
    }
    if (!cut) {
      // What was held back: the end of a character or the beginning of a stop string that never came.
      const last = stops.push(words.end());
      const tail = last.match === null ? last.text + stops.end() : last.text;
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
    await session.dispose();
  }
}

function sampling(options: GenerateOptions) {
  const { maxNewTokens: _, stop: __, eosTokens: ___, chat: ____, ...rest } = options;
  return rest;
}

/** Special tokens have no text in which a stop string could be found, so those that are one are stopped at by themselves. */
function specialTokens(model: TextModel, stops: readonly string[]): number[] {
  const added = model.checkpointText.tokenizer?.added;
  return stops.flatMap((stop) => {
    const token = added?.get(stop);
    return token?.special === true ? [token.id] : [];
  });
}

interface EncodedPrompt {
  readonly promptTokens: readonly number[];
  /** Tokens that end the generation, where the caller names none. */
  readonly ends: readonly number[];
}

async function encodePrompt(
  model: TextModel,
  prompt: string | readonly number[] | readonly ChatMessage[],
  options: GenerateOptions,
): Promise<EncodedPrompt> {
  const ends = model.info.eosTokens;
  if (typeof prompt === "string") return { promptTokens: await model.encode(prompt), ends };
  if (!Array.isArray(prompt)) throw invalid("prompt", "a text, tokens or messages", prompt);
  const [first] = prompt as readonly (number | ChatMessage)[];
  if (first === undefined || typeof first === "number") {
    return { promptTokens: prompt as readonly number[], ends };
  }
  const text = await model.applyChatTemplate(prompt as readonly ChatMessage[], options.chat);
  const { turnEnd } = await model.checkpointText.chat();
  const promptTokens = await model.encode(text, { addSpecialTokens: false });
  return {
    promptTokens,
    ends: turnEnd === null || ends.includes(turnEnd) ? ends : [...ends, turnEnd],
  };
}
