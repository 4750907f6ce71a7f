/** Reading the tokenizer's JSON files. */

import { readFile } from "node:fs/promises";
import { parsePythonJson } from "../checkpoint/json.js";
import { type ErrorDetails, messageOf, NviumError } from "../errors.js";

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads a file whose content must be a JSON object; no file is an empty one. */
export async function readObject(file: string | null): Promise<JsonObject> {
  if (file === null) return {};
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw tokenizerError(file, messageOf(cause), {}, cause);
  }
  return parseObject(text, file);
}

/** The same; no such file is an empty object too. */
export async function readObjectIfThere(file: string): Promise<JsonObject> {
  const text = await readIfThere(file);
  return text === undefined ? {} : parseObject(text, file);
}

/** A text file; undefined where there is none. */
export async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw tokenizerError(file, messageOf(cause), {}, cause);
  }
}

export function parseObject(
  text: string,
  file: string,
  parse: (text: string) => unknown = parsePythonJson,
): JsonObject {
  let json: unknown;
  try {
    json = parse(text);
  } catch (cause) {
    throw tokenizerError(file, messageOf(cause), {}, cause);
  }
  if (!isObject(json)) throw tokenizerError(file, "expected a JSON object");
  return json;
}

/** Special tokens are named by a string, or by an object that holds it as `content`. */
export function contentOf(token: unknown): string | undefined {
  const content = isObject(token) ? token.content : token;
  return typeof content === "string" ? content : undefined;
}

export function noTokenizer(): NviumError {
  return new NviumError(
    "ERR_NVIUM_TOKENIZER",
    "The checkpoint has no tokenizer.json, which text needs; tokens can be used without one.",
    { file: null },
  );
}

export function tokenizerError(
  file: string,
  problem: string,
  details: ErrorDetails = {},
  cause?: unknown,
): NviumError {
  return new NviumError("ERR_NVIUM_TOKENIZER", `${file}: ${problem}`, { file, ...details }, cause);
}
