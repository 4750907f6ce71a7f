/** What Python's operators do. */
import { formatPercent } from "./format.js";
import { repr } from "./text.js";
import {
  fail,
  hash,
  is,
  isInteger,
  isNumber,
  isString,
  itemsOf,
  tuple,
  typeName,
  type Undefined,
  type Value,
} from "./values.js";

/** Throws where a value is undefined; such a thing can be printed and asked for its truth, and nothing else. */
export function defined(value: Value): Exclude<Value, Undefined> {
  return is(value, "undefined") ? fail(value.problem) : (value as Exclude<Value, Undefined>);
}

export function truth(value: Value): boolean {
  if (value === null) return false;
  if (typeof value !== "object") return Boolean(value);
  if (is(value, "undefined")) return false;
  return sized(value) ? length(value) > 0 : true;
}

function sized(value: Value): boolean {
  if (isString(value) || itemsOf(value) !== null) return true;
  return is(value, "dict") || is(value, "range") || is(value, "view") || is(value, "undefined");
}

export function length(value: Value): number {
  if (isString(value)) return hasPairs(value) ? Array.from(value).length : value.length;
  const items = itemsOf(value);
  if (items !== null) return items.length;
  if (is(value, "dict")) return value.entries.size;
  if (is(value, "view")) return value.items().length;
  if (is(value, "undefined")) return 0;
  if (is(value, "range")) {
    const { start, stop, step } = value;
    const span = step > 0n ? stop - start : start - stop;
    const stride = step > 0n ? step : -step;
    return span > 0n ? Number((span + stride - 1n) / stride) : 0;
  }
  return fail(`object of type '${typeName(value)}' has no len()`);
}

const hasPairs = (text: string) => /[\ud800-\udfff]/.test(text);

/** The characters of a text: code points. */
export function characters(text: string): readonly string[] {
  return hasPairs(text) ? Array.from(text) : text.split("");
}

export function iterable(value: Value): boolean {
  return sized(value) || is(value, "lazy");
}

export function* iterate(value: Value): Generator<Value, void, undefined> {
  const items = isString(value) ? characters(value) : itemsOf(value);
  if (items !== null) yield* items;
  else if (is(value, "dict")) for (const [key] of [...value.entries.values()]) yield key;
  else if (is(value, "view")) yield* value.items();
  else if (is(value, "range")) {
    const { start, stop, step } = value;
    for (let i = start; step > 0n ? i < stop : i > stop; i += step) yield i;
  } else if (is(value, "lazy")) {
    for (let next = value.iterator.next(); next.done !== true; next = value.iterator.next()) {
      yield next.value;
    }
  } else if (!is(value, "undefined")) fail(`'${typeName(value)}' object is not iterable`);
}

export const listOf = (value: Value): Value[] => [...iterate(value)];

export function equals(a: Value, b: Value): boolean {
  if (isNumber(a) && isNumber(b)) return sameNumber(numeric(a), numeric(b));
  if (Array.isArray(a) || is(a, "tuple")) {
    if (Array.isArray(a) ? !Array.isArray(b) : !is(b, "tuple")) return false;
    const [left, right] = [itemsOf(a) ?? [], itemsOf(b) ?? []];
    return left.length === right.length && left.every((item, i) => equals(item, right[i] ?? null));
  }
  if (is(a, "dict")) {
    if (!is(b, "dict") || a.entries.size !== b.entries.size) return false;
    return [...a.entries].every(([key, [, value]]) => {
      const other = b.entries.get(key);
      return other !== undefined && equals(value, other[1]);
    });
  }
  if (is(a, "undefined")) return is(b, "undefined");
  if (is(a, "range") && is(b, "range")) return equals(listOf(a), listOf(b));
  if (is(a, "view") && is(b, "view")) return equals(a.items(), b.items());
  return a === b;
}

const numeric = (value: bigint | number | boolean): bigint | number =>
  typeof value === "boolean" ? BigInt(value) : value;

const isNan = (value: bigint | number) => typeof value === "number" && Number.isNaN(value);

/** Whether an integer and a float, or two of one type, are the same number. */
function sameNumber(a: bigint | number, b: bigint | number): boolean {
  return !(a < b) && !(a > b) && !isNan(a) && !isNan(b);
}

/** Below 0, 0 or above 0 as `a` is less than, equal to or greater than `b`; NaN where neither. */
export function order(a: Value, b: Value, operator = "<"): number {
  defined(a);
  defined(b);
  if (isNumber(a) && isNumber(b)) {
    const [left, right] = [numeric(a), numeric(b)];
    if (left < right) return -1;
    if (left > right) return 1;
    return sameNumber(left, right) ? 0 : Number.NaN;
  }
  if (isString(a) && isString(b)) return orderOfTexts(a, b);
  if ((Array.isArray(a) && Array.isArray(b)) || (is(a, "tuple") && is(b, "tuple"))) {
    const [left, right] = [itemsOf(a) ?? [], itemsOf(b) ?? []];
    for (let i = 0; i < Math.min(left.length, right.length); i++) {
      const [l, r] = [left[i] ?? null, right[i] ?? null];
      if (!equals(l, r)) return order(l, r, operator);
    }
    return left.length - right.length;
  }
  const [left, right] = [typeName(a), typeName(b)];
  return fail(`'${operator}' not supported between instances of '${left}' and '${right}'`);
}

/** By code points, which differs from the order of UTF-16. */
function orderOfTexts(a: string, b: string): number {
  if (a === b) return 0;
  if (!hasPairs(a + b)) return a < b ? -1 : 1;
  const [left, right] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = (left[i]?.codePointAt(0) ?? 0) - (right[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

export function compare(operator: string, a: Value, b: Value): boolean {
  switch (operator) {
    case "==":
      return equals(a, b);
    case "!=":
      return !equals(a, b);
    case "in":
      return contains(b, a);
    case "not in":
      return !contains(b, a);
    case "<":
      return order(a, b, operator) < 0;
    case "<=":
      return order(a, b, operator) <= 0;
    case ">":
      return order(a, b, operator) > 0;
    default:
      return order(a, b, operator) >= 0;
  }
}

function contains(container: Value, item: Value): boolean {
  if (isString(container)) {
    if (isString(item)) return container.includes(item);
    defined(item);
    return fail(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (is(container, "dict")) return container.entries.has(hash(item));
  if (!iterable(container)) fail(`argument of type '${typeName(container)}' is not iterable`);
  for (const value of iterate(container)) if (equals(value, item)) return true;
  return false;
}

export function binary(operator: string, a: Value, b: Value): Value {
  if (operator === "%" && isString(a)) return formatPercent(a, b);
  defined(a);
  defined(b);
  if (isNumber(a) && isNumber(b)) return arithmetic(operator, a, b);
  if (operator === "+") {
    if (isString(a) && isString(b)) return a + b;
    if (Array.isArray(a) && Array.isArray(b)) return [...a, ...b];
    if (is(a, "tuple") && is(b, "tuple")) return tuple([...a.items, ...b.items]);
    if (isString(a)) {
      return fail(`can only concatenate str (not "${typeName(b)}") to str`);
    }
  }
  if (operator === "*") {
    const repeated = isInteger(a) ? repeat(b, a) : isInteger(b) ? repeat(a, b) : undefined;
    if (repeated !== undefined) return repeated;
  }
  return fail(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
}

/** What one operation may make, so that a template of a few characters cannot take all memory. */
const MOST_ITEMS = 1 << 24;

/** A count of characters or items to make, refused where it is beyond all reason. */
export function room(count: number): number {
  return count > MOST_ITEMS ? fail(`more than ${MOST_ITEMS} items or characters`) : count;
}

function repeat(value: Value, times: bigint | boolean): Value | undefined {
  const count = Number(times) > 0 ? Number(times) : 0;
  const items = itemsOf(value);
  if (!isString(value) && items === null) return undefined;
  if (length(value) * count > MOST_ITEMS)
    fail(`a repetition would have more than ${MOST_ITEMS} items`);
  if (isString(value)) return value.repeat(count);
  const all = Array.from({ length: count }, () => items ?? []).flat();
  return Array.isArray(value) ? all : tuple(all);
}

function arithmetic(
  operator: string,
  left: bigint | number | boolean,
  right: bigint | number | boolean,
): Value {
  const [a, b] = [numeric(left), numeric(right)];
  if (["/", "//", "%"].includes(operator) && sameNumber(b, 0)) {
    fail(operator === "/" || isInteger(a) ? "division by zero" : "float division by zero");
  }
  if (typeof a === "bigint" && typeof b === "bigint" && !(operator === "**" && b < 0n)) {
    switch (operator) {
      case "+":
        return a + b;
      case "-":
        return a - b;
      case "*":
        return a * b;
      case "/":
        return Number(a) / Number(b);
      case "//":
        return (a - modulo(a, b)) / b;
      case "%":
        return modulo(a, b);
      default:
        if (BigInt(a.toString(2).length) * b > MOST_ITEMS) fail("a power is too large");
        return a ** b;
    }
  }
  const [x, y] = [Number(a), Number(b)];
  switch (operator) {
    case "+":
      return x + y;
    case "-":
      return x - y;
    case "*":
      return x * y;
    case "/":
      return x / y;
    case "//":
      return Math.round((x - realModulo(x, y)) / y);
    case "%":
      return realModulo(x, y);
    default:
      return x ** y;
  }
}

function realModulo(x: number, y: number): number {
  const rest = x % y;
  return rest !== 0 && rest < 0 !== y < 0 ? rest + y : rest;
}

/** With the sign of the divisor. */
function modulo(a: bigint, b: bigint): bigint {
  const rest = a % b;
  return rest !== 0n && rest < 0n !== b < 0n ? rest + b : rest;
}

export function signed(value: Value, negative: boolean): Value {
  defined(value);
  if (!isNumber(value)) {
    return fail(`bad operand type for unary ${negative ? "-" : "+"}: '${typeName(value)}'`);
  }
  const number = numeric(value);
  return negative ? -number : number;
}

/** `value[start:stop:step]`; undefined for what has no slices. */
export function slice(value: Value, parts: readonly Value[]): Value | undefined {
  const items = isString(value)
    ? characters(value)
    : is(value, "range")
      ? listOf(value)
      : itemsOf(value);
  if (items === null) return undefined;
  const [from, to, by] = parts.map((part) => {
    if (part === null) return null;
    if (isInteger(part)) return Number(part);
    return fail("slice indices must be integers or None or have an __index__ method");
  });
  const step = by ?? 1;
  if (step === 0) fail("slice step cannot be zero");
  const size = items.length;
  const bound = (
    index: number | null | undefined,
    missing: number,
    least: number,
    most: number,
  ) => {
    if (index === null || index === undefined) return missing;
    return Math.min(Math.max(index < 0 ? index + size : index, least), most);
  };
  const start = step > 0 ? bound(from, 0, 0, size) : bound(from, size - 1, -1, size - 1);
  const stop = step > 0 ? bound(to, size, 0, size) : bound(to, -1, -1, size - 1);
  if (is(value, "range")) {
    const index = (i: number) => value.start + BigInt(i) * value.step;
    return { ...value, start: index(start), stop: index(stop), step: value.step * BigInt(step) };
  }
  const taken: Value[] = [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) taken.push(items[i] ?? null);
  if (isString(value)) return taken.join("");
  return is(value, "tuple") ? tuple(taken) : taken;
}

/** A whole number given as an argument. */
export function whole(value: Value, what: string): number {
  if (isInteger(value)) return Number(value);
  defined(value);
  return fail(`${what} must be an integer, not ${repr(value)}`);
}
