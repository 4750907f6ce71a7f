/** The names a chat template finds. */
import { callable, REQUIRED } from "./arguments.js";
import { iterate, length, listOf, whole } from "./operations.js";
import { strftime } from "./strftime.js";
import { repr, str } from "./text.js";
import {
  type Arguments,
  type Callable,
  type Dict,
  dict,
  fail,
  is,
  isString,
  put,
  type Range,
  type Thing,
  typeName,
  type Value,
} from "./values.js";

/** As Jinja's sandbox has it. */
const MOST_IN_RANGE = 100_000;

export function createGlobals(now: () => Date): ReadonlyMap<string, Value> {
  return new Map<string, Value>([
    ["range", { kind: "callable", name: "range", call: range }],
    ["dict", { kind: "callable", name: "dict", call: newDict }],
    ["namespace", { kind: "callable", name: "namespace", call: namespace }],
    ["cycler", { kind: "callable", name: "cycler", call: ({ positional }) => cycler(positional) }],
    ["joiner", callable("joiner", { sep: ", " }, ({ sep }) => joiner(sep))],
    ["lipsum", { kind: "callable", name: "lipsum", call: () => fail("lipsum() is not supported") }],
    ["self", { kind: "thing", name: "TemplateReference", get: () => undefined }],
    [
      "raise_exception",
      callable("raise_exception", { message: REQUIRED }, ({ message }) => fail(str(message))),
    ],
    [
      "strftime_now",
      callable("strftime_now", { format: REQUIRED }, ({ format }) =>
        isString(format) ? strftime(format, now()) : fail("strftime_now() needs a text"),
      ),
    ],
  ]);
}

function range({ positional, named }: Arguments): Range {
  if (named.size > 0) fail("range() takes no keyword arguments");
  const numbers = positional.map((value) => BigInt(whole(value, "an argument of range()")));
  const [first, second, step = 1n] = numbers;
  if (first === undefined || numbers.length > 3)
    return fail("range() takes one to three arguments");
  if (step === 0n) fail("range() arg 3 must not be zero");
  const [start, stop] = second === undefined ? [0n, first] : [first, second];
  const result: Range = { kind: "range", start, stop, step };
  if (length(result) > MOST_IN_RANGE) fail(`a range has more than ${MOST_IN_RANGE} numbers`);
  return result;
}

function newDict({ positional, named }: Arguments): Dict {
  const [source] = positional;
  if (positional.length > 1) fail(`dict expected at most 1 argument, got ${positional.length}`);
  const result = dict([]);
  if (source !== undefined && is(source, "dict")) {
    for (const [key, value] of source.entries.values()) put(result, key, value);
  } else if (source !== undefined) {
    for (const pair of iterate(source)) {
      const [key, value, ...more] = listOf(pair);
      if (key === undefined || value === undefined || more.length > 0) {
        return fail("dictionary update sequence elements must have length 2");
      }
      put(result, key, value);
    }
  }
  for (const [name, value] of named) put(result, name, value);
  return result;
}

function namespace(args: Arguments): Thing {
  const { entries } = newDict(args);
  const values = new Map<string, Value>();
  const set = (name: string, value: Value) => {
    if (name.startsWith("_")) {
      fail(
        `Chat templates cannot store underscore-prefixed attributes on a namespace, but got ${repr(name)}.`,
      );
    }
    values.set(name, value);
  };
  for (const [key, value] of entries.values()) set(str(key), value);
  return { kind: "thing", name: "Namespace", get: (name) => values.get(name), set };
}

function cycler(items: readonly Value[]): Thing {
  if (items.length === 0) fail("at least one item has to be provided");
  let at = 0;
  const current = () => items[at] ?? null;
  const next = callable("next", {}, () => {
    const value = current();
    at = (at + 1) % items.length;
    return value;
  });
  const reset = callable("reset", {}, () => {
    at = 0;
    return null;
  });
  return {
    kind: "thing",
    name: "Cycler",
    get: (name) =>
      name === "next"
        ? next
        : name === "reset"
          ? reset
          : name === "current"
            ? current()
            : undefined,
  };
}

function joiner(separator: Value): Callable {
  let used = false;
  return callable("joiner", {}, () => {
    const text = used ? separator : "";
    used = true;
    return text;
  });
}

/** Calls a value. */
export function call(callee: Value, args: Arguments): Value {
  if (is(callee, "callable")) return callee.call(args);
  if (is(callee, "thing") && callee.call !== undefined) return callee.call(args);
  if (is(callee, "undefined")) return fail(callee.problem);
  return fail(`'${typeName(callee)}' object is not callable`);
}
