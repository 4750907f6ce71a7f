/** What may stand behind `|`. */
import { bind, type Define, REQUIRED } from "./arguments.js";
import { subscript } from "./attributes.js";
import { formatPercent } from "./format.js";
import { listFilters } from "./list-filters.js";
import { getter } from "./lookup.js";
import { numberFilters } from "./number-filters.js";
import { iterate, truth } from "./operations.js";
import { str } from "./text.js";
import { textFilters } from "./text-filters.js";
import {
  type Arguments,
  dict,
  fail,
  hash,
  is,
  lazy,
  tuple,
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
  const define: Define = (names, parameters, body) => {
    for (const name of names.split(" ")) {
      filters.set(name, (value, args) => body(value, bind(name, args, parameters)));
    }
  };

  define("attr", { name: REQUIRED }, (value, { name }) => {
    const key = str(name);
    // Only attributes are meant, and none of these values has any that a template may see but methods.
    return is(value, "dict") && value.entries.has(hash(key)) && !DICT_METHODS.includes(key)
      ? undefinedValue(`'dict object' has no attribute '${key}'`)
      : subscript(value, key);
  });
  define("d default", { default_value: "", boolean: false }, (value, args) =>
    is(value, "undefined") || (truth(args.boolean) && !truth(value)) ? args.default_value : value,
  );
  filters.set("format", (value, { positional, named }) => {
    if (positional.length > 0 && named.size > 0) {
      fail("can't handle positional and keyword arguments at the same time");
    }
    return formatPercent(str(value), named.size > 0 ? dict(named) : tuple(positional));
  });
  textFilters(define);
  numberFilters(define);
  listFilters(define);

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
