/**
 * Python's values as a template sees them. Integers are bigint and floats number, since Python tells 1 from 1.0; strings are
 * sequences of code points.
 */

export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | Value[]
  | Tuple
  | Dict
  | Undefined
  | Range
  | View
  | Lazy
  | Callable
  | Thing;

export interface Tuple {
  readonly kind: "tuple";
  readonly items: readonly Value[];
  /** Of items that can be asked for by a name too. */
  readonly names?: readonly string[];
}

/** Entries in the order they were put in, by `hash` of the key. */
export interface Dict {
  readonly kind: "dict";
  readonly entries: Map<string, readonly [key: Value, value: Value]>;
}

/** What a name or attribute that does not exist gives: empty text, and an error when more is asked of it. */
export interface Undefined {
  readonly kind: "undefined";
  readonly problem: string;
}

export interface Range {
  readonly kind: "range";
  readonly start: bigint;
  readonly stop: bigint;
  readonly step: bigint;
}

/** `dict.items()` and its like. */
export interface View {
  readonly kind: "view";
  readonly name: "dict_keys" | "dict_values" | "dict_items";
  readonly items: () => Value[];
}

/** A generator: it can be gone through once. */
export interface Lazy {
  readonly kind: "lazy";
  readonly iterator: Iterator<Value, void, undefined>;
}

export interface Callable {
  readonly kind: "callable";
  readonly name: string;
  readonly call: (args: Arguments) => Value;
  readonly attributes?: ReadonlyMap<string, Value>;
}

/** Something with attributes that is none of the others: a namespace, the loop, a cycler. */
export interface Thing {
  readonly kind: "thing";
  readonly name: string;
  readonly get: (name: string) => Value | undefined;
  readonly set?: (name: string, value: Value) => void;
  readonly call?: (args: Arguments) => Value;
}

export interface Arguments {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}

/** What goes wrong while a template is rendered, or read. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";
}

export function fail(message: string): never {
  throw new TemplateError(message);
}

export const tuple = (items: readonly Value[]): Tuple => ({ kind: "tuple", items });

export const undefinedValue = (problem: string): Undefined => ({ kind: "undefined", problem });

export const lazy = (values: Iterable<Value>): Lazy => ({
  kind: "lazy",
  iterator: values[Symbol.iterator]() as Iterator<Value, void, undefined>,
});

export function dict(pairs: Iterable<readonly [Value, Value]>): Dict {
  const result: Dict = { kind: "dict", entries: new Map() };
  for (const [key, value] of pairs) put(result, key, value);
  return result;
}

export function put({ entries }: Dict, key: Value, value: Value): void {
  const hashed = hash(key);
  // A key that is there already stays as it was written first.
  entries.set(hashed, [entries.get(hashed)?.[0] ?? key, value]);
}

export const isString = (value: Value): value is string => typeof value === "string";

export const isInteger = (value: Value): value is bigint | boolean =>
  typeof value === "bigint" || typeof value === "boolean";

export const isNumber = (value: Value): value is bigint | number | boolean =>
  isInteger(value) || typeof value === "number";

type Kind = Exclude<Value, null | boolean | bigint | number | string | Value[]>["kind"];
export function is<K extends Kind>(value: Value, kind: K): value is Extract<Value, { kind: K }> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && value.kind === kind
  );
}

/** The items of a list or tuple, else null. */
export function itemsOf(value: Value): readonly Value[] | null {
  if (Array.isArray(value)) return value;
  return is(value, "tuple") ? value.items : null;
}

export function typeName(value: Value): string {
  if (value === null) return "NoneType";
  if (Array.isArray(value)) return "list";
  switch (typeof value) {
    case "boolean":
      return "bool";
    case "bigint":
      return "int";
    case "number":
      return "float";
    case "string":
      return "str";
  }
  switch (value.kind) {
    case "undefined":
      return "Undefined";
    case "view":
    case "thing":
      return value.name;
    case "lazy":
      return "generator";
    case "callable":
      return "function";
  }
  return value.kind;
}

/** Equal values have equal hashes, also across types: 1, 1.0 and True. */
export function hash(value: Value): string {
  if (isString(value)) return `s${value}`;
  if (isNumber(value)) {
    const whole = typeof value === "number" && Number.isInteger(value);
    return `n${whole || typeof value === "boolean" ? BigInt(value) : value}`;
  }
  if (value === null) return "none";
  if (is(value, "tuple")) return `t${JSON.stringify(value.items.map(hash))}`;
  if (Array.isArray(value) || is(value, "dict"))
    return fail(`unhashable type: '${typeName(value)}'`);
  return `o${typeName(value)}`;
}

/** From what a caller hands over. Whole numbers are integers. */
export function fromJs(value: unknown): Value {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") return value;
  if (typeof value === "number") return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (value === undefined) return undefinedValue("a variable is undefined");
  if (Array.isArray(value)) return value.map((item) => (item === undefined ? null : fromJs(item)));
  if (typeof value === "object") {
    if ("toJSON" in value && typeof value.toJSON === "function") return fromJs(value.toJSON());
    const pairs = Object.entries(value).filter(([, item]) => item !== undefined);
    return dict(pairs.map(([key, item]) => [key, fromJs(item)]));
  }
  return fail(`a ${typeof value} cannot be given to a template`);
}
