/** `value.name` and `value[key]`, as far as a sandboxed template may look. */
import { callable, REQUIRED } from "./arguments.js";
import { characters, equals, length, listOf, slice } from "./operations.js";
import { stringMethod } from "./strings.js";
import { str } from "./text.js";
import {
  type Callable,
  type Dict,
  dict,
  fail,
  hash,
  is,
  isInteger,
  isString,
  itemsOf,
  tuple,
  typeName,
  undefinedValue,
  type Value,
} from "./values.js";

/** Methods that would change what they belong to. */
const CHANGING: Readonly<Record<string, readonly string[]>> = {
  list: ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"],
  dict: ["clear", "pop", "popitem", "setdefault", "update"],
};

/** `value.name`: attributes and methods first, then items. */
export function attribute(value: Value, name: string): Value {
  if (is(value, "undefined")) return fail(value.problem);
  return ofPython(value, name) ?? item(value, name, false);
}

/** `value[key]`: items first, then attributes and methods. */
export function subscript(value: Value, key: Value): Value {
  if (is(value, "undefined")) return fail(value.problem);
  return item(value, key, true);
}

function item(value: Value, key: Value, attributes: boolean): Value {
  const found = itemAt(value, key);
  if (found !== undefined) return found;
  if (attributes && isString(key)) {
    const own = ofPython(value, key);
    if (own !== undefined) return own;
  }
  const kind = value === null ? "None" : `'${typeName(value)} object'`;
  return undefinedValue(
    isString(key) ? `${kind} has no attribute '${key}'` : `${kind} has no element ${str(key)}`,
  );
}

function itemAt(value: Value, key: Value): Value | undefined {
  if (is(value, "dict")) {
    // What cannot be a key is in no dict.
    return isHashable(key) ? value.entries.get(hash(key))?.[1] : undefined;
  }
  if (is(value, "thing")) return isString(key) ? value.get(key) : undefined;
  if (!isInteger(key)) return undefined;
  const list = isString(value)
    ? characters(value)
    : is(value, "range")
      ? listOf(value)
      : itemsOf(value);
  return list?.at(Number(key));
}

function isHashable(key: Value): boolean {
  const items = is(key, "tuple") ? key.items : [];
  return !Array.isArray(key) && !is(key, "dict") && items.every(isHashable);
}

export function sliced(value: Value, parts: readonly Value[]): Value {
  if (is(value, "undefined")) return fail(value.problem);
  return slice(value, parts) ?? fail(`'${typeName(value)}' object is not subscriptable`);
}

/** An attribute as Python has it; undefined where there is none. */
function ofPython(value: Value, name: string): Value | undefined {
  const unsafe = () =>
    undefinedValue(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);
  if (name.startsWith("_")) return name.startsWith("__") ? unsafe() : undefined;
  if (CHANGING[typeName(value)]?.includes(name)) return unsafe();
  if (isString(value)) {
    return stringMethod(value, name, (from, key, isItem) =>
      isItem ? subscript(from, /^\d+$/.test(key) ? BigInt(key) : key) : attribute(from, key),
    );
  }
  if (is(value, "dict")) return dictMethod(value, name);
  const items = itemsOf(value);
  if (items !== null) {
    if (is(value, "tuple") && value.names?.includes(name))
      return value.items[value.names.indexOf(name)];
    return listMethod(items, name, Array.isArray(value));
  }
  if (is(value, "thing")) return value.get(name);
  if (is(value, "callable")) return value.attributes?.get(name);
  if (is(value, "range") && ["start", "stop", "step"].includes(name)) {
    return value[name as "start" | "stop" | "step"];
  }
  if (isInteger(value)) {
    if (name === "real" || name === "numerator") return BigInt(value);
    if (name === "imag") return 0n;
    if (name === "denominator") return 1n;
    if (name === "bit_length") {
      return callable(name, {}, () => BigInt(value === 0n ? 0 : Number(value).toString(2).length));
    }
  }
  if (typeof value === "number") {
    if (name === "real") return value;
    if (name === "imag") return 0;
    if (name === "is_integer") return callable(name, {}, () => Number.isInteger(value));
  }
  return undefined;
}

function dictMethod(value: Dict, name: string): Callable | undefined {
  const pairs = () => [...value.entries.values()];
  switch (name) {
    case "items":
      return callable(name, {}, () => ({
        kind: "view",
        name: "dict_items",
        items: () => pairs().map((pair) => tuple(pair)),
      }));
    case "keys":
      return callable(name, {}, () => ({
        kind: "view",
        name: "dict_keys",
        items: () => pairs().map(([key]) => key),
      }));
    case "values":
      return callable(name, {}, () => ({
        kind: "view",
        name: "dict_values",
        items: () => pairs().map(([, item]) => item),
      }));
    case "get":
      return callable(name, { key: REQUIRED, default: null }, ({ key, default: missing }) => {
        const found = value.entries.get(hash(key));
        return found === undefined ? missing : found[1];
      });
    case "copy":
      return callable(name, {}, () => dict(pairs()));
  }
  return undefined;
}

function listMethod(items: readonly Value[], name: string, isList: boolean): Callable | undefined {
  switch (name) {
    case "index":
      return callable(name, { value: REQUIRED }, ({ value }) => {
        const at = items.findIndex((item) => equals(item, value));
        return at < 0 ? fail(`${str(value)} is not in list`) : BigInt(at);
      });
    case "count":
      return callable(name, { value: REQUIRED }, ({ value }) =>
        BigInt(items.filter((item) => equals(item, value)).length),
      );
    case "copy":
      return isList ? callable(name, {}, () => [...items]) : undefined;
  }
  return undefined;
}

/** `len()` as a number of Python. */
export const lengthOf = (value: Value): bigint => BigInt(length(value));
