/** `"…" % values`, `"…".format()` and the format of single values. */
import { defined, room } from "./operations.js";
import { float, repr, str } from "./text.js";
import {
  type Arguments,
  fail,
  is,
  isInteger,
  isNumber,
  isString,
  typeName,
  type Value,
} from "./values.js";

export function formatPercent(pattern: string, values: Value): string {
  const list = is(values, "tuple") ? values.items : [values];
  let used = 0;
  const next = (): Value => {
    if (used >= list.length) fail("not enough arguments for format string");
    return list[used++] ?? null;
  };
  let named = false;
  const result = pattern.replace(
    /%(?:\(([^)]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?([\s\S]|$)/g,
    (whole, name: string | undefined, flags: string, width, precision, type: string) => {
      if (type === "%") return "%";
      const size = room(width === "*" ? Number(next()) : Number(width ?? 0));
      const digits =
        precision === "*" ? Number(next()) : /\./.test(whole) ? Number(precision ?? 0) : null;
      let value: Value;
      if (name !== undefined) {
        named = true;
        if (!is(values, "dict")) return fail("format requires a mapping");
        const found = values.entries.get(`s${name}`);
        value = found === undefined ? fail(repr(name)) : found[1];
      } else {
        value = next();
      }
      const text = converted(value, type, flags, digits);
      const left = flags.includes("-");
      if (flags.includes("0") && !left && "diouxXeEfFgG".includes(type)) return zeroed(text, size);
      return left ? text.padEnd(size) : text.padStart(size);
    },
  );
  if (!named && used < list.length && !is(values, "dict") && !Array.isArray(values)) {
    fail("not all arguments converted during string formatting");
  }
  return result;
}

function converted(value: Value, type: string, flags: string, digits: number | null): string {
  const plus = flags.includes("+") ? "+" : flags.includes(" ") ? " " : "-";
  switch (type) {
    case "s":
    case "r":
    case "a": {
      const text = type === "s" ? str(value) : repr(value);
      return digits === null ? text : Array.from(text).slice(0, digits).join("");
    }
    case "d":
    case "i":
    case "u":
    case "o":
    case "x":
    case "X": {
      defined(value);
      if (!isNumber(value))
        return fail(`%${type} format: a real number is required, not ${typeName(value)}`);
      const whole = typeof value === "number" ? BigInt(Math.trunc(value)) : BigInt(value);
      return integer(whole, type === "i" || type === "u" ? "d" : type, plus, flags.includes("#"));
    }
    case "c":
      return isInteger(value) ? String.fromCodePoint(Number(value)) : str(value);
    case "e":
    case "E":
    case "f":
    case "F":
    case "g":
    case "G":
      defined(value);
      if (!isNumber(value)) return fail(`must be real number, not ${typeName(value)}`);
      return real(Number(value), type, digits ?? 6, plus);
  }
  return fail(`unsupported format character '${type}'`);
}

function integer(value: bigint, type: string, sign: string, alternate: boolean): string {
  const base = { b: 2, o: 8, x: 16, X: 16 }[type] ?? 10;
  const digits = (value < 0n ? -value : value).toString(base);
  const prefix = alternate && base !== 10 ? `0${type}` : "";
  return withSign(value < 0n, prefix + (type === "X" ? digits.toUpperCase() : digits), sign);
}

function withSign(negative: boolean, digits: string, sign: string): string {
  if (negative) return `-${digits}`;
  return sign === "-" ? digits : sign + digits;
}

function real(value: number, type: string, digits: number, sign: string): string {
  if (digits > 100) fail("a precision of more than 100 digits is not supported");
  const negative = value < 0 || Object.is(value, -0);
  const size = Math.abs(value);
  let text: string;
  if (!Number.isFinite(size)) text = Number.isNaN(size) ? "nan" : "inf";
  else if (type === "f" || type === "F") text = fixed(size, digits);
  else if (type === "e" || type === "E") text = exponential(size, digits);
  else text = general(size, digits);
  return withSign(negative, type === type.toUpperCase() ? text.toUpperCase() : text, sign);
}

/** Rounds halves to even, of the number as it is stored. */
export function fixed(value: number, digits: number): string {
  if (value >= 1e21) return BigInt(value) + (digits > 0 ? `.${"0".repeat(digits)}` : "");
  const text = value.toFixed(digits);
  const exact = value.toFixed(Math.min(100, digits + 40));
  const rest = exact.slice(exact.indexOf(".") + 1 + digits);
  const last = text.at(-1) ?? "0";
  if (!/^50*$/.test(rest) || Number(last) % 2 === 0) return text;
  // The half was rounded up to an odd digit; one below is even.
  return text.slice(0, -1) + String(Number(last) - 1);
}

function exponential(value: number, digits: number): string {
  const [mantissa = "", power = "+0"] = value.toExponential(digits).split("e");
  return `${mantissa}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}

function general(value: number, digits: number): string {
  const precision = Math.max(1, digits);
  const exponent = value === 0 ? 0 : Number(value.toExponential(precision - 1).split("e")[1]);
  const trimmed = (text: string) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  if (exponent >= -4 && exponent < precision)
    return trimmed(fixed(value, precision - 1 - exponent));
  const [mantissa = "", power] = exponential(value, precision - 1).split("e");
  return `${trimmed(mantissa)}e${power}`;
}

function zeroed(text: string, width: number): string {
  const sign = /^[-+ ]?/.exec(text)?.[0] ?? "";
  return sign + text.slice(sign.length).padStart(width - sign.length, "0");
}

const SPEC = /^(?:([\s\S])?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/u;

/** `format(value, spec)`. */
export function formatValue(value: Value, spec: string): string {
  defined(value);
  if (spec === "") return str(value);
  const parts = SPEC.exec(spec);
  if (parts === null || !(isString(value) || isNumber(value))) {
    return fail(`Invalid format specifier '${spec}' for object of type '${typeName(value)}'`);
  }
  const [, fill, align, sign = "-", alternate, zero, width, group, precision, type] = parts;
  const digits = precision === undefined ? null : Number(precision);
  let text = isString(value)
    ? Array.from(value)
        .slice(0, digits ?? undefined)
        .join("")
    : number(value, type, digits, sign, alternate !== undefined);
  if (group !== undefined) text = grouped(text, group);
  const size = room(Number(width ?? 0));
  if (zero !== undefined && align === undefined && !isString(value)) return zeroed(text, size);
  const missing = Math.max(0, size - Array.from(text).length);
  const padding = fill ?? (zero === undefined ? " " : "0");
  switch (align ?? (isString(value) ? "<" : ">")) {
    case "<":
      return text + padding.repeat(missing);
    case "^":
      return padding.repeat(missing >> 1) + text + padding.repeat(missing - (missing >> 1));
    case "=": {
      const lead = /^[-+ ]?/.exec(text)?.[0] ?? "";
      return lead + padding.repeat(missing) + text.slice(lead.length);
    }
    default:
      return padding.repeat(missing) + text;
  }
}

function number(
  value: bigint | number | boolean,
  type: string | undefined,
  digits: number | null,
  sign: string,
  alternate: boolean,
): string {
  if (type === "%") return `${real(Number(value) * 100, "f", digits ?? 6, sign)}%`;
  if (type !== undefined && "eEfFgG".includes(type))
    return real(Number(value), type, digits ?? 6, sign);
  if (typeof value === "number") {
    if (type !== undefined) return fail(`Unknown format code '${type}' for object of type 'float'`);
    const text = digits === null ? float(Math.abs(value)) : general(Math.abs(value), digits);
    return withSign(value < 0, text, sign);
  }
  if (type === "c") return String.fromCodePoint(Number(value));
  if (type !== undefined && !"bdoxXn".includes(type)) {
    return fail(`Unknown format code '${type}' for object of type 'int'`);
  }
  return integer(BigInt(value), type ?? "d", sign, alternate);
}

function grouped(text: string, separator: string): string {
  return text.replace(/\d+/, (digits) => digits.replace(/\B(?=(?:\d{3})+$)/g, separator));
}

/** `"…".format(…)`; `lookup` gives an attribute or an item of a value. */
export function format(
  pattern: string,
  { positional, named }: Arguments,
  lookup: (value: Value, key: string, item: boolean) => Value,
): string {
  let automatic = 0;
  const field = (name: string): Value => {
    const [, first = "", path = ""] = /^([^.[]*)([\s\S]*)$/.exec(name) ?? [];
    const index = first === "" ? automatic++ : /^\d+$/.test(first) ? Number(first) : null;
    let value: Value | undefined = index === null ? named.get(first) : positional[index];
    if (value === undefined) {
      return fail(
        index === null
          ? repr(first)
          : `Replacement index ${index} out of range for positional args tuple`,
      );
    }
    for (const [, attribute, item] of path.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g)) {
      value = lookup(value, attribute ?? item ?? "", attribute === undefined);
    }
    return value;
  };
  const replace = (text: string): string =>
    text.replace(
      /\{\{|\}\}|\{((?:[^{}]|\{[^{}]*\})*)\}|[{}]/g,
      (whole, inside: string | undefined) => {
        if (whole === "{{" || whole === "}}") return whole.slice(1);
        if (inside === undefined) return fail(`Single '${whole}' encountered in format string`);
        const [, name = "", conversion, spec = ""] =
          /^((?:[^!:[]|\[[^\]]*\])*)(?:!([rsa]))?(?::([\s\S]*))?$/.exec(inside) ?? [];
        const value = field(name);
        const text =
          conversion === undefined ? value : conversion === "s" ? str(value) : repr(value);
        return formatValue(text, spec.includes("{") ? replace(spec) : spec);
      },
    );
  return replace(pattern);
}
