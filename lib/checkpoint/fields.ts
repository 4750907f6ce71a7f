/** Typed access to the fields of a configuration, with errors that name file and field. Null means absent. */

import { describe, malformed } from "./failure.js";

export interface Fields {
  readonly file: string;
  /** Where in the file, as a prefix of field names: `""` or `"router."`. */
  readonly prefix: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/** The mapping a file consists of. */
export function rootFields(file: string, value: unknown): Fields {
  return { file, prefix: "", values: mapping(file, "the document", value) };
}

/** The mapping under `key`; an empty one when it is absent. */
export function section(fields: Fields, key: string): Fields {
  const name = fields.prefix + key;
  const values = mapping(fields.file, name, field(fields, key) ?? {});
  return { file: fields.file, prefix: `${name}.`, values };
}

function mapping(file: string, name: string, value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw malformed(file, `${name} is ${describe(value)}, expected a mapping`, { field: name });
  }
  return value as Record<string, unknown>;
}

/** The value under `key`; undefined when it is absent or null. */
export function field(fields: Fields, key: string): unknown {
  return Object.hasOwn(fields.values, key) ? (fields.values[key] ?? undefined) : undefined;
}

/** The error for a field that holds something else than `expected`. */
export function wrongField(fields: Fields, key: string, expected: string, actual: unknown) {
  const name = fields.prefix + key;
  const shown = describe(actual);
  return malformed(fields.file, `${name} is ${shown}, expected ${expected}`, {
    field: name,
    expected,
    actual: shown,
  });
}

/** An integer from `min` to `max`; `absent` stands in for a missing one, which is an error without it. */
export function integer(
  fields: Fields,
  key: string,
  [min, max]: readonly [number, number],
  absent?: number,
): number {
  const value = field(fields, key) ?? absent;
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw wrongField(fields, key, `an integer from ${min} to ${max}`, value);
  }
  return value;
}

/** A finite number from `min` to `max`; `absent` stands in for a missing one, which is an error without it. */
export function real(
  fields: Fields,
  key: string,
  [min, max]: readonly [number, number],
  absent?: number,
): number {
  const value = field(fields, key) ?? absent;
  if (typeof value !== "number" || !(value >= min && value <= max)) {
    throw wrongField(fields, key, `a number from ${min} to ${max}`, value);
  }
  return value;
}

export function boolean(fields: Fields, key: string, absent: boolean): boolean {
  const value = field(fields, key) ?? absent;
  if (typeof value !== "boolean") throw wrongField(fields, key, "true or false", value);
  return value;
}

/** A string, or null when the field is absent. */
export function optionalString(fields: Fields, key: string): string | null {
  const value = field(fields, key) ?? null;
  if (value !== null && typeof value !== "string") throw wrongField(fields, key, "a string", value);
  return value;
}
