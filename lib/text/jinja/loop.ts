/** What a template knows of the loop it is in. */
import { equals } from "./operations.js";
import {
  type Arguments,
  type Callable,
  fail,
  type Thing,
  undefinedValue,
  type Value,
} from "./values.js";

/** Each call of `next` gives `loop` for the next value. */
export function loopOver(
  values: readonly Value[],
  depth: number,
  again: Callable,
): { next(): Thing } {
  let at = -1;
  let seen: readonly Value[] | null = null;
  const cycle: Callable = {
    kind: "callable",
    name: "cycle",
    call: ({ positional }) =>
      positional.length === 0
        ? fail("no items for cycling given")
        : (positional[at % positional.length] ?? null),
  };
  const changed: Callable = {
    kind: "callable",
    name: "changed",
    call: ({ positional }: Arguments) => {
      const same = seen !== null && equals([...seen], [...positional]);
      seen = positional;
      return !same;
    },
  };
  const numbers: Readonly<Record<string, () => number>> = {
    index: () => at + 1,
    index0: () => at,
    revindex: () => values.length - at,
    revindex0: () => values.length - at - 1,
    length: () => values.length,
    depth: () => depth,
    depth0: () => depth - 1,
  };
  const get = (name: string): Value | undefined => {
    const number = numbers[name];
    if (number !== undefined) return BigInt(number());
    switch (name) {
      case "first":
        return at === 0;
      case "last":
        return at === values.length - 1;
      case "previtem":
        return at > 0 ? values[at - 1] : undefinedValue("there is no previous item");
      case "nextitem":
        return at + 1 < values.length ? values[at + 1] : undefinedValue("there is no next item");
      case "cycle":
        return cycle;
      case "changed":
        return changed;
      case "__repr__":
        return `<LoopContext ${at + 1}/${values.length}>`;
    }
    return undefined;
  };
  const loop: Thing = { kind: "thing", name: "LoopContext", get, call: again.call };
  return {
    next() {
      at++;
      return loop;
    },
  };
}
