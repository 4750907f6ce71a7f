/** The errors of this folder: one sentence that says where, what was found and what was expected. */

import { type ErrorDetails, NviumError } from "../errors.js";

/** A checkpoint that is missing something, contradicts itself or is damaged. */
export function malformed(file: string, what: string, details: ErrorDetails = {}, cause?: unknown) {
  return new NviumError("ERR_NVIUM_MODEL_FORMAT", `${file}: ${what}.`, { file, ...details }, cause);
}

/** A well-formed checkpoint that asks for what this runtime does not do. */
export function unsupported(file: string, what: string, details: ErrorDetails = {}) {
  return new NviumError("ERR_NVIUM_UNSUPPORTED", `${file}: ${what}.`, { file, ...details });
}

/** Longest piece of a file's own text that a message repeats, in characters. */
const QUOTE_LIMIT = 160;

/** Control, bidirectional and separator characters: a file's text must not steer the terminal that shows it. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text from a file, made safe to show. */
export function quote(text: string): string {
  const short = text.length > QUOTE_LIMIT ? `${text.slice(0, QUOTE_LIMIT)}…` : text;
  return JSON.stringify(short).replace(
    UNPRINTABLE,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  );
}

/** A value from a file, made short and safe to show. Collections are named, not listed: they may be large or circular. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "a mapping";
  return String(value);
}
