/** The arguments of a call by the names of its parameters, as Python binds them. */
import { type Arguments, type Callable, fail, type Value } from "./values.js";

/** Names of the parameters with their defaults; those without one are `REQUIRED`. */
export type Parameters = Readonly<Record<string, Value | typeof REQUIRED>>;

export const REQUIRED = Symbol("required");

export function bind<P extends Parameters>(
  name: string,
  { positional, named }: Arguments,
  parameters: P,
): Readonly<Record<keyof P, Value>> {
  const names = Object.keys(parameters);
  if (positional.length > names.length) {
    fail(`${name}() takes ${names.length} arguments but ${positional.length} were given`);
  }
  for (const [key] of named) {
    const at = names.indexOf(key);
    if (at < 0) fail(`${name}() got an unexpected keyword argument '${key}'`);
    if (at < positional.length) fail(`${name}() got multiple values for argument '${key}'`);
  }
  const bound = names.map((key, i) => {
    const byName = named.has(key) ? named.get(key) : parameters[key];
    const given = i < positional.length ? positional[i] : byName;
    if (given === REQUIRED) return fail(`${name}() missing the required argument '${key}'`);
    return [key, given as Value] as const;
  });
  return Object.fromEntries(bound) as Readonly<Record<keyof P, Value>>;
}

export function callable<P extends Parameters>(
  name: string,
  parameters: P,
  body: (values: Readonly<Record<keyof P, Value>>) => Value,
): Callable {
  return { kind: "callable", name, call: (args) => body(bind(name, args, parameters)) };
}

/** Puts down a filter under one or more names, with the parameters it has besides the value. */
export type Define = <P extends Parameters>(
  names: string,
  parameters: P,
  body: (value: Value, args: Readonly<Record<keyof P, Value>>) => Value,
) => void;

/** A call with positional arguments only. */
export const positionally = (...positional: Value[]): Arguments => ({
  positional,
  named: new Map(),
});
