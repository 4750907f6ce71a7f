/** Turning command-line strings into values; what does not fit is a UsageError that names the option. */

import { UNBOUNDED } from "../checks.js";
import { isDeviceName } from "../devices.js";
import { UsageError } from "./types.js";

export function wholeNumber(name: string, text: string, least: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new UsageError(`--${name} must be a whole number from ${least}, not "${text}"`);
}

export function countOrUnbounded(name: string, text: string): number {
  if (text === "unbounded") return Number.POSITIVE_INFINITY;
  if (/^\d+$/.test(text) && Number(text) < UNBOUNDED) return Number(text);
  throw new UsageError(`--${name} must be a whole number from 0 or unbounded, not "${text}"`);
}

/** A number that is not negative. */
export function realNumber(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= 0) return value;
  throw new UsageError(`--${name} must be a number from 0, not "${text}"`);
}

export function oneOf<const T extends string>(name: string, text: string, values: readonly T[]): T {
  const value = values.find((candidate) => candidate === text);
  if (value !== undefined) return value;
  throw new UsageError(`--${name} must be ${values.join(" or ")}, not "${text}"`);
}

/** Seeds have 64 bits. */
export function seed64(name: string, text: string): bigint {
  if (/^\d{1,20}$/.test(text)) {
    const value = BigInt(text);
    if (value < 1n << 64n) return value;
  }
  throw new UsageError(`--${name} must be a whole number below 2^64, not "${text}"`);
}

/** A device as `loadModel` names it. */
export function deviceName(name: string, text: string) {
  if (isDeviceName(text)) return text;
  throw new UsageError(
    `--${name} must be auto or cpu or cuda or cuda:0, cuda:1 and on, not "${text}"`,
  );
}
