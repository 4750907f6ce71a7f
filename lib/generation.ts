/** What a caller holds while a text is generated: chunks to iterate, or the result to await. */
import type { Chunk, GenerateResult } from "./continuation.js";
import { createEnding, type Ending } from "./ending.js";
import { NviumError } from "./errors.js";

/**
 * A generation, started by iterating it (once) or by awaiting it, which gives its result. Leaving the loop ends the work;
 * the result is then what there was.
 */
export interface Generation extends AsyncIterable<Chunk>, PromiseLike<GenerateResult> {
  /** The same as awaiting the generation. */
  result(): Promise<GenerateResult>;
  /** All of the text. */
  text(): Promise<string>;
}

/** How a generation is done. */
export interface Course {
  readonly signal: AbortSignal | undefined;
  readonly timeLimit: number | undefined;
  /** Yields the chunks, returns the result; hands it to `left` when the loop over it is left early. */
  run(
    ending: Ending,
    left: (result: GenerateResult) => void,
  ): AsyncGenerator<Chunk, GenerateResult, undefined>;
  /** The result where it is left before anything was asked for. */
  nothing(): Promise<GenerateResult>;
}

/** `course` checks the options; it is asked for when the generation begins. */
export function createGeneration(course: () => Course): Generation {
  /** Whether somebody has asked for the first chunk, or has left before. */
  let begun = false;
  let settle: { resolve(result: GenerateResult): void; reject(reason: unknown): void } | undefined;
  const outcome = new Promise<GenerateResult>((resolve, reject) => {
    settle = { resolve, reject };
  });
  // Who only iterates gets errors from the loop.
  outcome.catch(() => undefined);

  async function* chunks(leaving: { leave?: () => void }): AsyncGenerator<Chunk, void, undefined> {
    if (begun) throw new NviumError("ERR_NVIUM_BUSY", "A generation can be iterated once.");
    begun = true;
    let ending: Ending | undefined;
    try {
      const { signal, timeLimit, run } = course();
      ending = createEnding(signal, timeLimit);
      leaving.leave = ending.leave;
      settle?.resolve(yield* run(ending, (result) => settle?.resolve(result)));
    } catch (reason) {
      settle?.reject(reason);
      throw reason;
    } finally {
      ending?.close();
    }
  }

  function iterate(): AsyncGenerator<Chunk, void, undefined> {
    const leaving: { leave?: () => void } = {};
    const generator = chunks(leaving);
    const leave = generator.return.bind(generator);
    return Object.assign(generator, {
      // A generator hears of leaving when it next yields, or never where it has not begun.
      async return() {
        leaving.leave?.();
        if (!begun) {
          begun = true;
          try {
            settle?.resolve(await course().nothing());
          } catch (reason) {
            settle?.reject(reason);
          }
        }
        return leave();
      },
    });
  }

  const result = async () => {
    if (!begun) for await (const _ of iterate());
    return outcome;
  };
  return {
    [Symbol.asyncIterator]: iterate,
    result,
    text: async () => (await result()).text,
    // biome-ignore lint/suspicious/noThenProperty: a generation is awaited
    then: (resolved, rejected) => result().then(resolved, rejected),
  };
}
