/** The methods of Python's strings. */
import { callable, type Parameters, REQUIRED } from "./arguments.js";
import { format } from "./format.js";
import { LINE_END, SPACE } from "./lexer.js";
import { characters, defined, listOf, room, whole } from "./operations.js";
import { type Callable, fail, is, isString, tuple, typeName, type Value } from "./values.js";

type Lookup = (value: Value, key: string, item: boolean) => Value;

const LEADING = new RegExp(`^[${SPACE}]+`, "u");
const TRAILING = new RegExp(`[${SPACE}]+$`, "u");
const BREAK = new RegExp(`\r\n|[${LINE_END}]`);

export function strip(text: string, chars: Value, left: boolean, right: boolean): string {
  if (chars === null) {
    const rest = left ? text.replace(LEADING, "") : text;
    return right ? rest.replace(TRAILING, "") : rest;
  }
  const set = new Set(characters(textOf(chars, "strip arg")));
  const list = characters(text);
  let from = 0;
  let to = list.length;
  while (left && from < to && set.has(list[from] ?? "")) from++;
  while (right && to > from && set.has(list[to - 1] ?? "")) to--;
  return list.slice(from, to).join("");
}

export function replaceText(text: string, from: string, to: string, count: number): string {
  if (count < 0) {
    return from === "" ? ["", ...characters(text), ""].join(to) : text.split(from).join(to);
  }
  let result = "";
  let rest = text;
  for (let n = 0; n < count; n++) {
    const at = rest.indexOf(from);
    if (at < 0) break;
    if (from === "") {
      const [first = ""] = characters(rest.slice(0, 2));
      result += to + first;
      if (rest === "") return result;
      rest = rest.slice(first.length);
    } else {
      result += rest.slice(0, at) + to;
      rest = rest.slice(at + from.length);
    }
  }
  return result + rest;
}

export function splitText(
  text: string,
  separator: Value,
  most: number,
  fromRight: boolean,
): string[] {
  const limit = most < 0 ? Number.POSITIVE_INFINITY : most;
  if (separator === null) {
    const words = strip(text, null, !fromRight || most < 0, fromRight || most < 0);
    return splitOnSpace(words, limit, fromRight);
  }
  const by = textOf(separator, "separator");
  if (by === "") fail("empty separator");
  const parts = text.split(by);
  const over = parts.length - 1 - limit;
  if (!(over > 0)) return parts;
  return fromRight
    ? [parts.slice(0, over + 1).join(by), ...parts.slice(over + 1)]
    : [...parts.slice(0, limit), parts.slice(limit).join(by)];
}

function splitOnSpace(text: string, limit: number, fromRight: boolean): string[] {
  const parts: string[] = [];
  let rest = text;
  const gap = new RegExp(fromRight ? `[${SPACE}]+(?=[^${SPACE}]+$)` : `[${SPACE}]+`, "u");
  while (rest !== "") {
    const trimmed = strip(rest, null, !fromRight, fromRight);
    const found = gap.exec(trimmed);
    if (parts.length >= limit || found === null) {
      if (trimmed !== "") parts.push(trimmed);
      break;
    }
    const end = found.index + found[0].length;
    parts.push(fromRight ? trimmed.slice(end) : trimmed.slice(0, found.index));
    rest = fromRight ? trimmed.slice(0, found.index) : trimmed.slice(end);
  }
  return fromRight ? parts.reverse() : parts;
}

export function linesOf(text: string, keepEnds: boolean): string[] {
  const lines: string[] = [];
  let rest = text;
  for (let found = BREAK.exec(rest); found !== null; found = BREAK.exec(rest)) {
    const end = found.index + found[0].length;
    lines.push(rest.slice(0, keepEnds ? end : found.index));
    rest = rest.slice(end);
  }
  return rest === "" ? lines : [...lines, rest];
}

const DIGRAPHS: Readonly<Record<string, string>> = { Ǆ: "ǅ", Ǉ: "ǈ", Ǌ: "ǋ", Ǳ: "ǲ" };

function titled(character: string): string {
  const [first = "", ...rest] = characters(character.toUpperCase());
  return (DIGRAPHS[first] ?? first) + rest.join("").toLowerCase();
}

export function capitalize(text: string): string {
  const [first = "", ...rest] = characters(text);
  return titled(first) + rest.join("").toLowerCase();
}

function title(text: string): string {
  let inWord = false;
  return characters(text)
    .map((character) => {
      const result = inWord ? character.toLowerCase() : titled(character);
      inWord = /\p{Cased}/u.test(character);
      return result;
    })
    .join("");
}

export function centered(text: string, width: number, fill: string): string {
  const missing = room(Math.max(0, width - characters(text).length));
  const left = (missing >> 1) + (missing & width & 1);
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

function textOf(value: Value, what: string): string {
  if (isString(value)) return value;
  defined(value);
  return fail(`${what} must be str, not ${typeName(value)}`);
}

/** Offsets count code points, as in Python. */
function ranged(
  text: string,
  start: Value,
  end: Value,
): { part: string; offset: number; valid: boolean } {
  const list = characters(text);
  const at = (value: Value, missing: number) => {
    const index = value === null ? missing : whole(value, "slice indices");
    return Math.min(Math.max(index < 0 ? index + list.length : index, 0), list.length);
  };
  const offset = at(start, 0);
  const part = list.slice(offset, at(end, list.length)).join("");
  return { part, offset, valid: start === null || whole(start, "index") <= list.length };
}

const all = (pattern: RegExp) => (text: string) =>
  text !== "" && characters(text).every((c) => pattern.test(c));
const cased = (wrong: RegExp, right: RegExp) => (text: string) =>
  !wrong.test(text) && right.test(text);

const TESTS: Readonly<Record<string, (text: string) => boolean>> = {
  isalnum: all(/^[\p{L}\p{N}]$/u),
  isalpha: all(/^\p{L}$/u),
  isascii: (text) => !/[^\0-\x7f]/.test(text),
  isdecimal: all(/^\p{Nd}$/u),
  isdigit: all(/^[\p{Nd}²³¹⁰⁴-⁹₀-₉①-⑨⑴-⑼⒈-⒐⓪⓵-⓽⓿❶-❾➀-➈➊-➒]$/u),
  isidentifier: (text) => /^[\p{L}_][\p{L}\p{M}\p{N}\p{Pc}]*$/u.test(text),
  islower: cased(/\p{Lu}|\p{Lt}/u, /\p{Lowercase}/u),
  isnumeric: all(/^\p{N}$/u),
  isprintable: (text) => !/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(text),
  isspace: all(new RegExp(`^[${SPACE}]$`, "u")),
  istitle: (text) => /\p{Lu}|\p{Lt}/u.test(text) && title(text) === text,
  isupper: cased(/\p{Lowercase}|\p{Lt}/u, /\p{Lu}/u),
};

export const isUpper = TESTS.isupper as (text: string) => boolean;
export const isLower = TESTS.islower as (text: string) => boolean;

const CHANGES: Readonly<Record<string, (text: string) => string>> = {
  capitalize,
  casefold: (text) => text.replaceAll("ß", "ss").toLowerCase(),
  lower: (text) => text.toLowerCase(),
  swapcase: (text) =>
    characters(text)
      .map((c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase()))
      .join(""),
  title,
  upper: (text) => text.toUpperCase(),
};

/** A method of `text`; undefined where strings have none of this name. */
export function stringMethod(text: string, name: string, lookup: Lookup): Callable | undefined {
  const method = <P extends Parameters>(
    parameters: P,
    body: (values: Readonly<Record<keyof P, Value>>) => Value,
  ) => callable(name, parameters, body);

  const change = CHANGES[name];
  if (change !== undefined) return method({}, () => change(text));
  const test = TESTS[name];
  if (test !== undefined) return method({}, () => test(text));

  switch (name) {
    case "strip":
    case "lstrip":
    case "rstrip":
      return method({ chars: null }, ({ chars }) =>
        strip(text, chars, name !== "rstrip", name !== "lstrip"),
      );
    case "split":
    case "rsplit":
      return method({ sep: null, maxsplit: -1n }, ({ sep, maxsplit }) =>
        splitText(text, sep, whole(maxsplit, "maxsplit"), name === "rsplit"),
      );
    case "splitlines":
      return method({ keepends: false }, ({ keepends }) => linesOf(text, keepends === true));
    case "replace":
      return method({ old: REQUIRED, new: REQUIRED, count: -1n }, (values) =>
        replaceText(
          text,
          textOf(values.old, "replace() argument 1"),
          textOf(values.new, "replace() argument 2"),
          whole(values.count, "count"),
        ),
      );
    case "startswith":
    case "endswith":
      return method({ prefix: REQUIRED, start: null, end: null }, ({ prefix, start, end }) => {
        const { part, valid } = ranged(text, start, end);
        const options = is(prefix, "tuple") ? prefix.items : [prefix];
        return options.some((option) => {
          const wanted = textOf(option, `${name} first arg`);
          return valid && (name === "endswith" ? part.endsWith(wanted) : part.startsWith(wanted));
        });
      });
    case "find":
    case "rfind":
    case "index":
    case "rindex":
      return method({ sub: REQUIRED, start: null, end: null }, ({ sub, start, end }) => {
        const { part, offset } = ranged(text, start, end);
        const wanted = textOf(sub, "argument");
        const at = name.startsWith("r") ? part.lastIndexOf(wanted) : part.indexOf(wanted);
        if (at < 0 && name.endsWith("index")) fail("substring not found");
        return BigInt(at < 0 ? -1 : offset + characters(part.slice(0, at)).length);
      });
    case "count":
      return method({ sub: REQUIRED, start: null, end: null }, ({ sub, start, end }) => {
        const { part } = ranged(text, start, end);
        const wanted = textOf(sub, "argument");
        return BigInt(wanted === "" ? characters(part).length + 1 : part.split(wanted).length - 1);
      });
    case "join":
      return method({ iterable: REQUIRED }, ({ iterable }) =>
        listOf(defined(iterable))
          .map((item, i) =>
            isString(item)
              ? item
              : fail(`sequence item ${i}: expected str instance, ${typeName(item)} found`),
          )
          .join(text),
      );
    case "ljust":
    case "rjust":
    case "center":
      return method({ width: REQUIRED, fillchar: " " }, ({ width, fillchar }) => {
        const size = whole(width, "width");
        const fill = textOf(fillchar, "the fill character");
        if (characters(fill).length !== 1)
          fail("The fill character must be exactly one character long");
        if (name === "center") return centered(text, size, fill);
        const padding = fill.repeat(room(Math.max(0, size - characters(text).length)));
        return name === "ljust" ? text + padding : padding + text;
      });
    case "zfill":
      return method({ width: REQUIRED }, ({ width }) => {
        const sign = /^[-+]?/.exec(text)?.[0] ?? "";
        const missing = room(Math.max(0, whole(width, "width") - characters(text).length));
        return sign + "0".repeat(missing) + text.slice(sign.length);
      });
    case "partition":
    case "rpartition":
      return method({ sep: REQUIRED }, ({ sep }) => {
        const by = textOf(sep, "separator");
        if (by === "") fail("empty separator");
        const at = name === "partition" ? text.indexOf(by) : text.lastIndexOf(by);
        if (at < 0) return tuple(name === "partition" ? [text, "", ""] : ["", "", text]);
        return tuple([text.slice(0, at), by, text.slice(at + by.length)]);
      });
    case "removeprefix":
      return method({ prefix: REQUIRED }, ({ prefix }) => {
        const start = textOf(prefix, "argument");
        return text.startsWith(start) ? text.slice(start.length) : text;
      });
    case "removesuffix":
      return method({ suffix: REQUIRED }, ({ suffix }) => {
        const end = textOf(suffix, "argument");
        return end !== "" && text.endsWith(end) ? text.slice(0, -end.length) : text;
      });
    case "expandtabs":
      return method({ tabsize: 8n }, ({ tabsize }) => {
        const size = room(whole(tabsize, "tabsize"));
        let column = 0;
        return characters(text)
          .map((c) => {
            const written = c === "\t" ? " ".repeat(size > 0 ? size - (column % size) : 0) : c;
            column = c === "\n" || c === "\r" ? 0 : column + written.length;
            return written;
          })
          .join("");
      });
    case "format":
      return { kind: "callable", name, call: (args) => format(text, args, lookup) };
  }
  return undefined;
}
