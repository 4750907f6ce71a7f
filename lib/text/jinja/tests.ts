/** What may stand behind `is`. */
import { bind, REQUIRED } from "./arguments.js";
import { compare, equals, iterable, binary as operate } from "./operations.js";
import { isLower, isUpper } from "./strings.js";
import { str } from "./text.js";
import { type Arguments, is, isNumber, isString, itemsOf, type Value } from "./values.js";

export type Test = (value: Value, args: Arguments) => boolean;

const plain =
  (name: string, test: (value: Value) => boolean): Test =>
  (value, args) => {
    bind(name, args, {});
    return test(value);
  };

const binary =
  (name: string, test: (value: Value, other: Value) => boolean): Test =>
  (value, args) =>
    test(value, bind(name, args, { other: REQUIRED }).other);

const comparison = (operator: string): Test =>
  binary(operator, (value, other) => compare(operator, value, other));

const remainder = (value: Value, by: bigint) => operate("%", value, by);

export function createTests(names: {
  filters: () => ReadonlySet<string>;
}): ReadonlyMap<string, Test> {
  const unary: Readonly<Record<string, (value: Value) => boolean>> = {
    boolean: (value) => typeof value === "boolean",
    callable: (value) =>
      is(value, "callable") ||
      is(value, "undefined") ||
      (is(value, "thing") && value.call !== undefined),
    defined: (value) => !is(value, "undefined"),
    escaped: () => false,
    even: (value) => equals(remainder(value, 2n), 0n),
    false: (value) => value === false,
    filter: (value) => isString(value) && names.filters().has(value),
    float: (value) => typeof value === "number",
    integer: (value) => typeof value === "bigint",
    iterable,
    lower: (value) => isLower(str(value)),
    mapping: (value) => is(value, "dict"),
    none: (value) => value === null,
    number: isNumber,
    odd: (value) => equals(remainder(value, 2n), 1n),
    sequence: (value) =>
      isString(value) ||
      itemsOf(value) !== null ||
      is(value, "dict") ||
      is(value, "range") ||
      is(value, "undefined"),
    string: isString,
    test: (value) => isString(value) && tests.has(value),
    true: (value) => value === true,
    undefined: (value) => is(value, "undefined"),
    upper: (value) => isUpper(str(value)),
  };
  const operators: Readonly<Record<string, readonly string[]>> = {
    "==": ["eq", "equalto", "=="],
    "!=": ["ne", "!="],
    "<": ["lt", "lessthan", "<"],
    "<=": ["le", "<="],
    ">": ["gt", "greaterthan", ">"],
    ">=": ["ge", ">="],
    in: ["in"],
  };
  const tests = new Map<string, Test>([
    ...Object.entries(unary).map(([name, test]) => [name, plain(name, test)] as const),
    ...Object.entries(operators).flatMap(([operator, all]) =>
      all.map((name) => [name, comparison(operator)] as const),
    ),
    ["divisibleby", binary("divisibleby", (value, by) => equals(operate("%", value, by), 0n))],
    ["sameas", binary("sameas", (value, other) => value === other)],
  ]);
  return tests;
}
