/** Filters of numbers. */
import type { Define } from "./arguments.js";
import { fixed } from "./format.js";
import { defined, order, signed, whole } from "./operations.js";
import { fail, isInteger, isNumber, isString, typeName, type Value } from "./values.js";

export function numberFilters(define: Define): void {
  define("abs", {}, (value) => {
    if (!isNumber(value)) return fail(`bad operand type for abs(): '${typeName(defined(value))}'`);
    return order(value, 0n) < 0 ? signed(value, true) : signed(value, false);
  });
  define("float", { default: 0 }, (value, args) => {
    defined(value);
    if (isNumber(value)) return Number(value);
    return (isString(value) ? parseReal(value) : undefined) ?? args.default;
  });
  define("int", { default: 0n, base: 10n }, (value, args) => {
    defined(value);
    const base = isInteger(args.base) ? Number(args.base) : Number.NaN;
    if (isInteger(value)) return BigInt(value);
    const parsed = isString(value) ? parseWhole(value, base) : undefined;
    if (parsed !== undefined) return parsed;
    const real = isString(value) ? parseReal(value) : typeof value === "number" ? value : undefined;
    return real !== undefined && Number.isFinite(real) ? BigInt(Math.trunc(real)) : args.default;
  });
  define("round", { precision: 0n, method: "common" }, (value, { precision, method }) => {
    defined(value);
    if (!isNumber(value)) return fail(`type ${typeName(value)} doesn't define __round__ method`);
    const digits = whole(precision, "precision");
    if (method === "common") return rounded(value, digits);
    if (method !== "ceil" && method !== "floor") fail("method must be common, ceil or floor");
    const factor = 10 ** digits;
    return Math[method as "ceil" | "floor"](Number(value) * factor) / factor;
  });
}

function rounded(value: bigint | number | boolean, digits: number): Value {
  if (isInteger(value)) {
    if (digits >= 0) return BigInt(value);
    const unit = 10n ** BigInt(-digits);
    const number = BigInt(value);
    const rest = ((number % unit) + unit) % unit;
    const down = number - rest;
    const up = rest * 2n > unit || (rest * 2n === unit && (down / unit) % 2n !== 0n);
    return up ? down + unit : down;
  }
  if (!Number.isFinite(value) || digits > 80) return value;
  if (digits < 0) return Number(rounded(BigInt(Math.round(value)), digits));
  const size = Number(fixed(Math.abs(value), digits));
  return value < 0 ? -size : size;
}

function parseWhole(text: string, base: number): bigint | undefined {
  const [, sign = "", prefix = "", digits = ""] =
    /^\s*([-+]?)(0[xXoObB])?([\da-zA-Z]+(?:_[\da-zA-Z]+)*)\s*$/.exec(text) ?? [];
  const bases: Readonly<Record<string, number>> = { x: 16, o: 8, b: 2 };
  const named = prefix === "" ? undefined : bases[prefix.slice(1).toLowerCase()];
  if (digits === "" || (named !== undefined && base !== named && base !== 0)) return undefined;
  const radix = base === 0 ? (named ?? 10) : base;
  let value = 0n;
  if (Number.isNaN(radix)) return undefined;
  for (const digit of digits.replaceAll("_", "")) {
    const amount = Number.parseInt(digit, 36);
    if (amount >= radix) return undefined;
    value = value * BigInt(radix) + BigInt(amount);
  }
  return sign === "-" ? -value : value;
}

export function parseReal(text: string): number | undefined {
  const trimmed = text.trim().toLowerCase();
  const special = /^([-+]?)(inf|infinity|nan)$/.exec(trimmed);
  if (special !== null) {
    const size = special[2] === "nan" ? Number.NaN : Number.POSITIVE_INFINITY;
    return special[1] === "-" ? -size : size;
  }
  const pattern = /^[-+]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[-+]?\d+)?$/;
  return pattern.test(trimmed) ? Number(trimmed.replaceAll("_", "")) : undefined;
}
