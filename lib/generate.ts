/** A prompt as a model reads it, and the text that follows it. */
import { checkOptions, checkSignal, invalid, type OptionNames } from "./checks.js";
import {
  CONTINUE_OPTIONS,
  type ContinueOptions,
  checkContinuation,
  checkTimeLimit,
  continueText,
  NO_WORDS,
  printable,
} from "./continuation.js";
import { createGeneration, type Generation } from "./generation.js";
import type { Session, SessionOptions } from "./session.js";
import type { ChatMessage, ChatOptions } from "./text/chat.js";
import type { CheckpointText } from "./text/load.js";
import type { EncodeOptions } from "./text/tokenizer.js";

export interface GenerateOptions
  extends ContinueOptions,
    Pick<SessionOptions, "seed" | "stream" | "maxPending" | "prefixCache" | "cacheSalt"> {
  /** How messages become the prompt; for messages only. Default: with what opens the assistant's turn, without tools. */
  readonly chat?: ChatOptions;
}

export const GENERATE_OPTIONS: OptionNames<GenerateOptions> = {
  ...CONTINUE_OPTIONS,
  seed: true,
  stream: true,
  maxPending: true,
  prefixCache: true,
  cacheSalt: true,
  chat: true,
};

/** A text, tokens, or messages for the chat template. */
export type Prompt = string | Iterable<number> | readonly ChatMessage[];

/** What generating text needs of a model. */
export interface TextModel {
  readonly info: { readonly eosTokens: readonly number[]; readonly vocabSize: number };
  encode(text: string, options?: EncodeOptions): Promise<number[]>;
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatOptions): Promise<string>;
  readonly checkpointText: CheckpointText;
  createSession(options?: SessionOptions): Session;
}

export function generate(model: TextModel, prompt: Prompt, options: GenerateOptions): Generation {
  return createGeneration(() => {
    checkOptions(options, GENERATE_OPTIONS);
    const signal = checkSignal(options.signal);
    return {
      signal,
      timeLimit: checkTimeLimit(options.timeLimit),
      async *run(ending, left) {
        const { promptTokens, ends, messages } = await encodePrompt(model, prompt, options);
        if (options.chat !== undefined && !messages) {
          throw invalid("chat", "absent where the prompt is no messages", options.chat);
        }
        const { info, checkpointText } = model;
        const how = checkContinuation(options, ends, info.vocabSize, checkpointText);
        const session = model.createSession(sessionOptions(options));
        try {
          session.append(promptTokens);
          const words = wordsAfter(model, promptTokens);
          return yield* continueText(session, how, promptTokens, words, ending, left);
        } finally {
          await session.dispose();
        }
      },
      async nothing() {
        const session = model.createSession(sessionOptions(options));
        const { seed } = session;
        const stats = session.stats();
        await session.dispose();
        return printable({
          ...{ text: "", tokens: [], exits: [], promptTokens: [] },
          ...{ finishReason: "left", seed, stats },
        });
      },
    };
  });
}

/** Those options that are of the session. */
export function sessionOptions(options: GenerateOptions): SessionOptions {
  const { seed, stream, maxPending, prefixCache, cacheSalt } = options;
  return {
    ...(seed === undefined ? {} : { seed }),
    ...(stream === undefined ? {} : { stream }),
    ...(maxPending === undefined ? {} : { maxPending }),
    ...(prefixCache === undefined ? {} : { prefixCache }),
    ...(cacheSalt === undefined ? {} : { cacheSalt }),
  };
}

export function wordsAfter({ checkpointText }: TextModel, after: readonly number[]) {
  return checkpointText.tokenizer?.stream({ skipSpecialTokens: true, after }) ?? NO_WORDS;
}

export interface EncodedPrompt {
  readonly promptTokens: readonly number[];
  /** Tokens that end the generation, where the caller names none. */
  readonly ends: readonly number[];
  /** It was messages. */
  readonly messages: boolean;
}

export async function encodePrompt(
  model: TextModel,
  prompt: Prompt,
  { chat }: GenerateOptions,
  name = "prompt",
): Promise<EncodedPrompt> {
  const ends = model.info.eosTokens;
  if (typeof prompt === "string") {
    return { promptTokens: await model.encode(prompt), ends, messages: false };
  }
  if (typeof prompt !== "object" || prompt === null || !(Symbol.iterator in prompt)) {
    throw invalid(name, "a text, tokens or messages", prompt);
  }
  const list = Array.from<number | ChatMessage>(prompt);
  if (typeof list[0] !== "object") return { promptTokens: list as number[], ends, messages: false };
  const text = await model.applyChatTemplate(list as ChatMessage[], chat);
  const { turnEnd } = await model.checkpointText.chat();
  const promptTokens = await model.encode(text, { addSpecialTokens: false });
  return {
    promptTokens,
    ends: turnEnd === null || ends.includes(turnEnd) ? ends : [...ends, turnEnd],
    messages: true,
  };
}
