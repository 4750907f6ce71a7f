/** Checks of what callers give: each returns the value, or throws an ERR_NVIUM_INVALID_ARG that says what was expected. */
import { NviumError } from "./errors.js";
import { nearest } from "./nearest.js";
import { isSignal } from "./signal.js";

/** The largest 32-bit word: as `maxPending` it stands for no bound, and `stream` and `topK` end there. */
export const UNBOUNDED = 0xffffffff;

/** A whole number in [least, most]. */
export function integer(name: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) {
    return value;
  }
  throw invalid(name, `a whole number from ${least} to ${most}`, value);
}

/** A boolean. */
export function flag(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw invalid(name, "a boolean", value);
}

/** A function, or undefined. */
export function optionalFunction<T>(name: string, value: T): T {
  if (value === undefined || typeof value === "function") return value;
  throw invalid(name, "a function", value);
}

/** The names of a call's options, all of them. */
export type OptionNames<T> = Readonly<Record<keyof T, true>>;

/** The options of a call: an object that has none but these. What is undefined is not there. */
export function checkOptions<T extends object>(options: T, names: OptionNames<T>, more = ""): T {
  if (typeof options !== "object" || options === null)
    throw invalid("options", "an object", options);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || Object.hasOwn(names, name)) continue;
    throw unknownOption(name, Object.keys(names), more);
  }
  return options;
}

/** An ERR_NVIUM_INVALID_ARG with the option that may have been meant, or with all there are. */
function unknownOption(name: string, names: readonly string[], more: string): NviumError {
  const meant = nearest(name, names);
  const instead = meant === undefined ? `There are ${names.join(", ")}.` : `Is ${meant} meant?`;
  return new NviumError("ERR_NVIUM_INVALID_ARG", `${name} is no option here. ${instead}${more}`, {
    argument: name,
    expected: meant ?? names.join(", "),
  });
}

/** Something to take token ids from. The ids are not looked at. */
export function checkIterable(name: string, tokens: Iterable<number>): Iterable<number> {
  if (typeof tokens === "object" && tokens !== null && Symbol.iterator in tokens) return tokens;
  throw invalid(name, "an iterable of token ids", tokens);
}

/** Tokens as a list, each checked. */
export function checkTokens(
  tokens: Iterable<number>,
  vocabSize: number,
  name = "tokens",
): number[] {
  return Array.from(checkIterable(name, tokens), (token, i) =>
    integer(`${name}[${i}]`, token, 0, vocabSize - 1),
  );
}

export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || isSignal(signal)) return signal;
  throw invalid("signal", "an AbortSignal", signal);
}

/** The 64-bit key of random choices; a random one where none is given. A text of digits is a seed as results print it. */
export function checkSeed(seed: unknown): bigint {
  if (seed === undefined) return crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
  if (typeof seed === "bigint" && seed >= 0n && seed < 1n << 64n) return seed;
  if (typeof seed === "number" && Number.isSafeInteger(seed) && seed >= 0) return BigInt(seed);
  if (typeof seed === "string" && /^\d{1,20}$/.test(seed) && BigInt(seed) < 1n << 64n) {
    return BigInt(seed);
  }
  throw invalid("seed", "a safe integer >= 0, a bigint below 2^64 or its digits", seed);
}

/** An ERR_NVIUM_INVALID_ARG that names the argument, what was expected and what was given. */
export function invalid(argument: string, expected: string, actual: unknown): NviumError {
  const given = shown(actual);
  return new NviumError("ERR_NVIUM_INVALID_ARG", `${argument} must be ${expected}, not ${given}.`, {
    argument,
    expected,
    actual,
  });
}

/** A value in a message. Whatever it is, showing it does not fail. */
function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  try {
    return String(value);
  } catch {
    return "an object that has no text";
  }
}
