/** What may stand behind `|`. */
import { bind, type Parameters, REQUIRED } from "./arguments.js";
import { lengthOf, subscript } from "./attributes.js";
import { fixed, formatPercent } from "./format.js";
import { toJson } from "./json.js";
import { escapeHtml, fileSize, quoteUrl, stripTags, wrapped } from "./markup.js";
import {
  binary,
  defined,
  equals,
  iterate,
  listOf,
  order,
  room,
  signed,
  truth,
  whole,
} from "./operations.js";
import { capitalize, centered, linesOf, replaceText, strip } from "./strings.js";
import { repr, str } from "./text.js";
import {
  type Arguments,
  dict,
  fail,
  hash,
  is,
  isInteger,
  isNumber,
  isString,
  itemsOf,
  lazy,
  tuple,
  typeName,
  undefinedValue,
  type Value,
} from "./values.js";

export type Filter = (value: Value, args: Arguments) => Value;

/** What filters need of others. */
export interface Named {
  filter(name: string): Filter;
  test(name: string): (value: Value, args: Arguments) => boolean;
}

/** Filters of Jinja that are not done here. */
export const MISSING_FILTERS = ["random", "urlize"];

export function createFilters(named: Named): ReadonlyMap<string, Filter> {
  const filters = new Map<string, Filter>();
  const define = <P extends Parameters>(
    names: string,
    parameters: P,
    body: (value: Value, args: Readonly<Record<keyof P, Value>>) => Value,
  ) => {
    for (const name of names.split(" ")) {
      filters.set(name, (value, args) => body(value, bind(name, args, parameters)));
    }
  };

  define("abs", {}, (value) => {
    if (!isNumber(value)) return fail(`bad operand type for abs(): '${typeName(defined(value))}'`);
    return order(value, 0n) < 0 ? signed(value, true) : signed(value, false);
  });
  define("attr", { name: REQUIRED }, (value, { name }) => {
    const key = str(name);
    // Only attributes are meant, and none of these values has any that a template may see but methods.
    return is(value, "dict") && value.entries.has(hash(key)) && !DICT_METHODS.includes(key)
      ? undefinedValue(`'dict object' has no attribute '${key}'`)
      : subscript(value, key);
  });
  define("batch", { linecount: REQUIRED, fill_with: null }, (value, { linecount, fill_with }) => {
    const rows: Value[] = [];
    let row: Value[] = [];
    for (const item of iterate(value)) {
      if (equals(BigInt(row.length), linecount)) {
        rows.push(row);
        row = [];
      }
      row.push(item);
    }
    if (row.length > 0) {
      const missing = fill_with === null ? 0 : room(whole(linecount, "linecount")) - row.length;
      for (let n = 0; n < missing; n++) row.push(fill_with);
      rows.push(row);
    }
    return lazy(rows);
  });
  define("capitalize", {}, (value) => capitalize(str(value)));
  define("center", { width: 80n }, (value, { width }) =>
    centered(str(value), whole(width, "width"), " "),
  );
  define("count length", {}, lengthOf);
  define("d default", { default_value: "", boolean: false }, (value, args) =>
    is(value, "undefined") || (truth(args.boolean) && !truth(value)) ? args.default_value : value,
  );
  define(
    "dictsort",
    { case_sensitive: false, by: "key", reverse: false },
    (value, { case_sensitive, by, reverse }) => {
      if (by !== "key" && by !== "value") fail('You can only sort by either "key" or "value"');
      if (!is(value, "dict"))
        return fail(`'${typeName(defined(value))}' object has no attribute 'items'`);
      const at = by === "key" ? 0 : 1;
      const pairs = [...value.entries.values()].map((pair) => tuple(pair));
      return sorted(
        pairs,
        (pair) => folded(itemsOf(pair)?.[at] ?? null, case_sensitive),
        truth(reverse),
      );
    },
  );
  define("e escape forceescape", {}, (value) => escapeHtml(str(value)));
  define("filesizeformat", { binary: false }, (value, { binary }) =>
    fileSize(
      Number(isNumber(value) ? value : (parseReal(str(value)) ?? fail("a size must be a number"))),
      truth(binary),
    ),
  );
  define("first", {}, (value) => {
    for (const item of iterate(value)) return item;
    return undefinedValue("No first item, sequence was empty.");
  });
  define("float", { default: 0 }, (value, args) => {
    defined(value);
    if (isNumber(value)) return Number(value);
    return (isString(value) ? parseReal(value) : undefined) ?? args.default;
  });
  filters.set("format", (value, { positional, named }) => {
    if (positional.length > 0 && named.size > 0) {
      fail("can't handle positional and keyword arguments at the same time");
    }
    return formatPercent(str(value), named.size > 0 ? dict(named) : tuple(positional));
  });
  define(
    "groupby",
    { attribute: REQUIRED, default: null, case_sensitive: false },
    (value, { attribute, default: missing, case_sensitive }) => {
      const get = getter(attribute, missing);
      const key = (item: Value) => folded(get(item), case_sensitive);
      const groups: { key: Value; grouper: Value; items: Value[] }[] = [];
      for (const item of sorted(listOf(value), key, false)) {
        const last = groups.at(-1);
        if (last !== undefined && equals(last.key, key(item))) last.items.push(item);
        else groups.push({ key: key(item), grouper: get(item), items: [item] });
      }
      return groups.map(({ grouper, items }) => ({
        ...tuple([grouper, items]),
        names: ["grouper", "list"],
      }));
    },
  );
  define("indent", { width: 4n, first: false, blank: false }, (value, { width, first, blank }) => {
    const space = isString(width) ? width : " ".repeat(room(Math.max(0, whole(width, "width"))));
    const [head = "", ...rest] = linesOf(`${textOf(value, "indent")}\n`, false);
    const lines = rest.map((line) => (line !== "" || truth(blank) ? space + line : line));
    return (truth(first) ? space : "") + [head, ...lines].join("\n");
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
  define("items", {}, (value) => {
    if (is(value, "undefined")) return lazy([]);
    if (!is(value, "dict")) return fail("Can only get item pairs from a mapping.");
    return lazy([...value.entries.values()].map((pair) => tuple(pair)));
  });
  define("join", { d: "", attribute: null }, (value, { d, attribute }) => {
    const items = listOf(value);
    const shown = attribute === null ? items : items.map(getter(attribute, null));
    return shown.map(str).join(str(d));
  });
  define("last", {}, (value) => {
    if (is(value, "lazy")) return fail("'generator' object is not reversible");
    const items = listOf(value);
    return (
      items.at(-1) ??
      (items.length > 0 ? null : undefinedValue("No last item, sequence was empty."))
    );
  });
  define("list", {}, listOf);
  define("lower", {}, (value) => str(value).toLowerCase());
  for (const [name, sign] of [
    ["max", -1],
    ["min", 1],
  ] as const) {
    define(name, { case_sensitive: false, attribute: null }, (value, args) => {
      const get = args.attribute === null ? (item: Value) => item : getter(args.attribute, null);
      const key = (item: Value) => folded(get(item), args.case_sensitive);
      let best: Value | undefined;
      for (const item of iterate(value)) {
        if (best === undefined || sign * order(key(item), key(best)) < 0) best = item;
      }
      return (
        best ?? (best === null ? null : undefinedValue("No aggregated item, sequence was empty."))
      );
    });
  }
  define("pprint", {}, (value) => {
    const text = repr(inOrder(value));
    return text.length > 80 ? fail("pprint of more than a line is not supported") : text;
  });
  define("replace", { old: REQUIRED, new: REQUIRED, count: null }, (value, args) =>
    replaceText(
      str(value),
      str(args.old),
      str(args.new),
      args.count === null ? -1 : whole(args.count, "count"),
    ),
  );
  define("reverse", {}, (value) =>
    isString(value) ? listOf(value).reverse().join("") : lazy(listOf(value).reverse()),
  );
  define("round", { precision: 0n, method: "common" }, (value, { precision, method }) => {
    defined(value);
    if (!isNumber(value)) return fail(`type ${typeName(value)} doesn't define __round__ method`);
    const digits = whole(precision, "precision");
    if (method === "common") return rounded(value, digits);
    if (method !== "ceil" && method !== "floor") fail("method must be common, ceil or floor");
    const factor = 10 ** digits;
    return Math[method as "ceil" | "floor"](Number(value) * factor) / factor;
  });
  define("safe string", {}, str);
  define("slice", { slices: REQUIRED, fill_with: null }, (value, { slices, fill_with }) => {
    const count = room(whole(slices, "slices"));
    if (count === 0) fail("integer division or modulo by zero");
    const items = listOf(value);
    const size = Math.floor(items.length / count);
    const longer = items.length % count;
    return lazy(
      Array.from({ length: count }, (_, i) => {
        const start = i * size + Math.min(i, longer);
        const part = items.slice(start, start + size + (i < longer ? 1 : 0));
        return fill_with !== null && i >= longer ? [...part, fill_with] : part;
      }),
    );
  });
  define(
    "sort",
    { reverse: false, case_sensitive: false, attribute: null },
    (value, { reverse, case_sensitive, attribute }) => {
      const parts = isString(attribute) ? attribute.split(",") : [attribute];
      const getters = parts.map((part) =>
        part === null ? (item: Value) => item : getter(part, null),
      );
      const key = (item: Value): Value => {
        return getters.map((get) => folded(get(item), case_sensitive));
      };
      whole(reverse, "reverse");
      return sorted(listOf(value), key, truth(reverse));
    },
  );
  define("striptags", {}, (value) => stripTags(str(value)));
  define("sum", { attribute: null, start: 0n }, (value, { attribute, start }) => {
    const get = attribute === null ? (item: Value) => item : getter(attribute, null);
    if (isString(start)) return fail("sum() can't sum strings [use ''.join(seq) instead]");
    return listOf(value).reduce<Value>((total, item) => binary("+", total, get(item)), start);
  });
  define("title", {}, (value) =>
    str(value)
      .split(/([-\s({[<]+)/u)
      .map((part) => {
        const [first = "", ...rest] = Array.from(part);
        return first.toUpperCase() + rest.join("").toLowerCase();
      })
      .join(""),
  );
  define(
    "tojson",
    { ensure_ascii: false, indent: null, separators: null, sort_keys: false },
    toJson,
  );
  define("trim", { chars: null }, (value, { chars }) => strip(str(value), chars, true, true));
  define(
    "truncate",
    { length: 255n, killwords: false, end: "...", leeway: null },
    (value, { length, killwords, end, leeway }) => {
      const [most, tail] = [whole(length, "length"), str(end)];
      const more = leeway === null ? 5 : whole(leeway, "leeway");
      if (lengthOf(value) <= most + more) return value;
      const text = Array.from(textOf(value, "truncate"));
      const cut = text.slice(0, most - Array.from(tail).length).join("");
      if (truth(killwords)) return cut + tail;
      const space = cut.lastIndexOf(" ");
      return (space < 0 ? cut : cut.slice(0, space)) + tail;
    },
  );
  define("unique", { case_sensitive: false, attribute: null }, (value, args) => {
    const get = args.attribute === null ? (item: Value) => item : getter(args.attribute, null);
    const seen = new Set<string>();
    return lazy(
      listOf(value).filter((item) => {
        const key = hash(folded(get(item), args.case_sensitive));
        return !seen.has(key) && seen.add(key);
      }),
    );
  });
  define("upper", {}, (value) => str(value).toUpperCase());
  define("urlencode", {}, (value) => {
    if (isString(value) || (itemsOf(value) === null && !is(value, "dict")))
      return quoteUrl(str(value), "/");
    const pairs = is(value, "dict") ? [...value.entries.values()] : listOf(value).map(listOf);
    const quoted = (part: Value | undefined) =>
      quoteUrl(str(part ?? null), "").replaceAll("%20", "+");
    return pairs.map(([key, item]) => `${quoted(key)}=${quoted(item)}`).join("&");
  });
  define("wordcount", {}, (value) =>
    BigInt(str(value).match(/[\p{L}\p{M}\p{N}_]+/gu)?.length ?? 0),
  );

  define(
    "wordwrap",
    { width: 79n, break_long_words: true, wrapstring: null, break_on_hyphens: true },
    (value, args) => {
      const wrap = (line: string) =>
        wrapped(
          line,
          whole(args.width, "width"),
          truth(args.break_long_words),
          truth(args.break_on_hyphens),
        );
      const end = args.wrapstring === null ? "\n" : str(args.wrapstring);
      return linesOf(str(value), false)
        .map((line) => wrap(line).join(end))
        .join(end);
    },
  );
  define("xmlattr", { autospace: true }, (value, { autospace }) => {
    if (!is(value, "dict"))
      return fail(`'${typeName(defined(value))}' object has no attribute 'items'`);
    const shown = [...value.entries.values()]
      .filter(([, item]) => item !== null && !is(item, "undefined"))
      .map(([key, item]) => {
        if (/[\s/>=]/.test(str(key))) fail(`Invalid character in attribute name: ${repr(key)}`);
        return `${escapeHtml(str(key))}="${escapeHtml(str(item))}"`;
      })
      .join(" ");
    return truth(autospace) && shown !== "" ? ` ${shown}` : shown;
  });

  /** Nothing is looked at before somebody asks for it, and of nothing there is nothing to look at. */
  function* through(value: Value, step: () => (item: Value) => readonly Value[]) {
    if (!truth(value)) return;
    const apply = step();
    for (const item of iterate(value)) yield* apply(item);
  }
  filters.set("map", (value, args) =>
    lazy(
      through(value, () => {
        const apply = mapping(args, named);
        return (item) => [apply(item)];
      }),
    ),
  );
  for (const [name, kept, byAttribute] of [
    ["select", true, false],
    ["reject", false, false],
    ["selectattr", true, true],
    ["rejectattr", false, true],
  ] as const) {
    filters.set(name, (value, args) =>
      lazy(
        through(value, () => {
          const passes = selection(args, named, byAttribute);
          return (item) => (passes(item) === kept ? [item] : []);
        }),
      ),
    );
  }
  return filters;
}

const DICT_METHODS = ["items", "keys", "values", "get", "copy"];

function mapping({ positional, named: args }: Arguments, named: Named): (item: Value) => Value {
  const [first, ...rest] = positional;
  if (first === undefined && args.has("attribute")) {
    return getter(args.get("attribute") ?? null, args.get("default") ?? null);
  }
  if (first === undefined) return fail("map requires a filter argument");
  const filter = named.filter(str(first));
  return (item) => filter(item, { positional: rest, named: args });
}

function selection(
  { positional, named: args }: Arguments,
  named: Named,
  byAttribute: boolean,
): (item: Value) => boolean {
  const [attribute, ...others] = byAttribute ? positional : [null, ...positional];
  if (attribute === undefined) return fail("Missing parameter for attribute name");
  const get = byAttribute ? getter(attribute, null) : (item: Value) => item;
  const [name, ...rest] = others;
  if (name === undefined) return (item) => truth(get(item));
  const test = named.test(str(name));
  return (item) => test(get(item), { positional: rest, named: args });
}

/** Looks up an attribute, item, or a path of them. */
function getter(attribute: Value, missing: Value): (item: Value) => Value {
  const path: readonly Value[] =
    attribute === null
      ? []
      : isString(attribute)
        ? attribute.split(".").map((part) => (/^\d+$/.test(part) ? BigInt(part) : part))
        : [attribute];
  return (item) =>
    path.reduce((value, part) => {
      const found = subscript(value, part);
      return missing !== null && is(found, "undefined") ? missing : found;
    }, item);
}

/** The text that a filter works on, where it takes nothing else for one. */
function textOf(value: Value, filter: string): string {
  if (isString(value)) return value;
  return fail(`${filter} needs a text, not ${typeName(defined(value))}`);
}

function folded(value: Value, caseSensitive: Value): Value {
  return isString(value) && !truth(caseSensitive) ? value.toLowerCase() : value;
}

function sorted(items: Value[], key: (item: Value) => Value, reverse: boolean): Value[] {
  const keyed = items.map((item) => ({ item, key: key(item) }));
  // Equal ones stay in order, also backwards.
  keyed.sort((a, b) => (reverse ? order(b.key, a.key) : order(a.key, b.key)));
  return keyed.map(({ item }) => item);
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

function parseReal(text: string): number | undefined {
  const trimmed = text.trim().toLowerCase();
  const special = /^([-+]?)(inf|infinity|nan)$/.exec(trimmed);
  if (special !== null) {
    const size = special[2] === "nan" ? Number.NaN : Number.POSITIVE_INFINITY;
    return special[1] === "-" ? -size : size;
  }
  const pattern = /^[-+]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[-+]?\d+)?$/;
  return pattern.test(trimmed) ? Number(trimmed.replaceAll("_", "")) : undefined;
}

/** Dictionaries by their keys. */
function inOrder(value: Value): Value {
  if (Array.isArray(value)) return value.map(inOrder);
  if (!is(value, "dict")) return value;
  const pairs = [...value.entries.values()].sort(([a], [b]) => order(a, b));
  return dict(pairs.map(([key, item]) => [key, inOrder(item)] as const));
}
