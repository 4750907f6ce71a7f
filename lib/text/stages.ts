/** Steps of decoding with their state. */
import { openTail } from "./tail.js";

/** Takes one part, gives back what can no longer change. `end` gives what was kept; the stage is spent after it. */
export interface Stage {
  push(part: string): string[];
  end(): string[];
}

export function map(change: (piece: string) => string): Stage {
  return { push: (piece) => [change(piece)], end: () => [] };
}

export function firstAndRest(
  first: (piece: string) => string,
  rest: (piece: string) => string,
): Stage {
  let change = first;
  return {
    push(piece) {
      const result = change(piece);
      change = rest;
      return [result];
    },
    end: () => [],
  };
}

/** The last piece is another's case, so one piece is kept. */
export function lastAndRest(
  rest: (piece: string) => string,
  last: (piece: string) => string,
): Stage {
  let kept: string | undefined;
  return {
    push(piece) {
      const result = kept === undefined ? [] : [rest(kept)];
      kept = piece;
      return result;
    },
    end: () => (kept === undefined ? [] : [last(kept)]),
  };
}

/** For steps that can only be taken on the whole: everything comes out at the end. */
export function collect(change: (whole: string) => string[]): Stage {
  const parts: string[] = [];
  return {
    push(part) {
      parts.push(part);
      return [];
    },
    end: () => (parts.length === 0 ? [] : change(parts.join(""))),
  };
}

export function replaceInText(pattern: string, replacement: string): Stage {
  let kept = "";
  return {
    push(part) {
      const pieces = (kept + part).split(pattern);
      const last = pieces.pop() ?? "";
      const open = last.length - openTail(last, pattern);
      kept = last.slice(open);
      return [[...pieces, last.slice(0, open)].join(replacement)];
    },
    end: () => [kept],
  };
}

/** Removes up to `start` of `character` at the beginning of the text and up to `stop` at its end. */
export function stripText(character: string, start: number, stop: number): Stage {
  let leading = start;
  let kept = "";
  return {
    push(part) {
      let from = 0;
      while (leading > 0 && from < part.length) {
        if (part[from] === character) {
          from++;
          leading--;
        } else {
          leading = 0;
        }
      }
      const rest = kept + part.slice(from);
      let to = rest.length;
      while (rest.length - to < stop && to > 0 && rest[to - 1] === character) to--;
      kept = rest.slice(to);
      return [rest.slice(0, to)];
    },
    end: () => [],
  };
}
