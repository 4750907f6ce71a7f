/** Filters of lists and dictionaries. */
import { type Define, REQUIRED } from "./arguments.js";
import { lengthOf } from "./attributes.js";
import { getter } from "./lookup.js";
import {
  binary,
  defined,
  equals,
  iterate,
  listOf,
  order,
  room,
  truth,
  whole,
} from "./operations.js";
import { str } from "./text.js";
import {
  fail,
  hash,
  is,
  isString,
  itemsOf,
  lazy,
  tuple,
  typeName,
  undefinedValue,
  type Value,
} from "./values.js";

export function listFilters(define: Define): void {
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
  define("count length", {}, lengthOf);
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
  define("first", {}, (value) => {
    for (const item of iterate(value)) return item;
    return undefinedValue("No first item, sequence was empty.");
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
  define("reverse", {}, (value) =>
    isString(value) ? listOf(value).reverse().join("") : lazy(listOf(value).reverse()),
  );
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
  define("sum", { attribute: null, start: 0n }, (value, { attribute, start }) => {
    const get = attribute === null ? (item: Value) => item : getter(attribute, null);
    if (isString(start)) return fail("sum() can't sum strings [use ''.join(seq) instead]");
    return listOf(value).reduce<Value>((total, item) => binary("+", total, get(item)), start);
  });
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
