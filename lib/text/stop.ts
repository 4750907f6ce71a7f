import { NviumError } from "../errors.js";
import { openTail } from "./tail.js";

export interface StopResult {
  /** Text that belongs to no stop string and can be shown. */
  readonly text: string;
  /** The stop string this text completed, null if there is none yet. */
  readonly match: string | null;
}

/** Looks for stop strings in text that comes in chunks. */
export interface StopMatcher {
  /** Adds a chunk. After a match nothing more is to be pushed. */
  push(chunk: string): StopResult;
  /** Returns what was held back because a stop string could have begun there. */
  end(): string;
}

/**
 * Finds the stop string that is complete first; of several complete at the same character, the longest. That does
 * not depend on where chunks end, and a chunk that completes a stop string is known to when it is pushed. Neither the
 * match nor what follows it is given out.
 */
export function createStopMatcher(stops: readonly string[]): StopMatcher {
  for (const stop of stops) {
    if (typeof stop !== "string" || stop === "") {
      throw new NviumError(
        "ERR_NVIUM_INVALID_ARG",
        "A stop string must be a string that is not empty",
        {
          argument: "stop",
          expected: "non-empty strings",
          actual: stop,
        },
      );
    }
  }

  /** The end of the text so far that a stop string begins with. */
  let kept = "";
  return {
    push(chunk) {
      const text = kept + chunk;
      let match: { readonly stop: string; readonly start: number; readonly end: number } | null =
        null;
      for (const stop of stops) {
        const start = text.indexOf(stop);
        const end = start + stop.length;
        if (start < 0) continue;
        if (match === null || end < match.end || (end === match.end && start < match.start)) {
          match = { stop, start, end };
        }
      }
      if (match !== null) {
        kept = "";
        return { text: text.slice(0, match.start), match: match.stop };
      }
      const open = text.length - Math.max(0, ...stops.map((stop) => openTail(text, stop)));
      kept = text.slice(open);
      return { text: text.slice(0, open), match: null };
    },
    end() {
      const text = kept;
      kept = "";
      return text;
    },
  };
}
