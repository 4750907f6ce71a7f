/** JSON from files that nobody vouches for: what `JSON.parse` accepts in silence or at any cost is refused here. */

import { malformed, quote } from "./failure.js";

/** Levels of nesting. A safetensors header needs three, a configuration a few more. */
const MAX_DEPTH = 32;

/** Values in one document, bounded before anything is built from it: 16 for each of the most tensors allowed. */
const MAX_VALUES = 1 << 20;

/** Strictly decoded UTF-8; a byte order mark is kept, and so refused by what reads the text. */
export function decodeUtf8(bytes: Uint8Array, file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw malformed(file, "holds bytes that are not UTF-8", {}, cause);
  }
}

/** Parses UTF-8 JSON, refusing duplicate keys, deep nesting and huge numbers of values. */
export function parseJson(
  bytes: Uint8Array,
  file: string,
  parse: (text: string) => unknown = JSON.parse,
): unknown {
  const text = decodeUtf8(bytes, file);
  checkStructure(text, file);
  try {
    return parse(text);
  } catch (cause) {
    throw malformed(file, "is not valid JSON", {}, cause);
  }
}

/**
 * JSON as Python writes it: `Infinity` is read as that, and `NaN` as a string of this name, which nothing takes for a
 * number. So both are harmless where nobody looks, and refused where somebody does.
 */
export function parsePythonJson(text: string): unknown {
  const plain = text.replace(/"(?:[^"\\]|\\.)*"|(?<![\w.])(?:Infinity|NaN)(?!\w)/g, (found) => {
    if (found === "Infinity") return "1e999";
    return found === "NaN" ? '"NaN"' : found;
  });
  return JSON.parse(plain);
}

/**
 * One pass over text that may not be JSON at all: it looks only at strings, brackets and commas, allocates nothing but
 * the keys of open objects, and leaves every other fault to `JSON.parse`.
 */
function checkStructure(text: string, file: string): void {
  /** For every open bracket: the keys seen if it is an object, null if it is an array. */
  const open: (Set<string> | null)[] = [];
  let keyNext = false;
  let values = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') {
      const end = closingQuote(text, i);
      const keys = open.at(-1);
      if (keyNext && keys) {
        const key = decodeKey(text.slice(i, end + 1));
        if (keys.has(key))
          throw malformed(file, `holds the key ${quote(key)} twice`, { field: key });
        keys.add(key);
        keyNext = false;
      }
      i = end;
    } else if (character === "{" || character === "[") {
      open.push(character === "{" ? new Set() : null);
      if (open.length > MAX_DEPTH)
        throw malformed(file, `is nested deeper than ${MAX_DEPTH} levels`);
      keyNext = character === "{";
      values++;
    } else if (character === "}" || character === "]") {
      open.pop();
      keyNext = false;
    } else if (character === ",") {
      keyNext = true;
      values++;
    }
    if (values > MAX_VALUES) throw malformed(file, `holds more than ${MAX_VALUES} values`);
  }
}

/** Where the string that starts at `start` ends: its closing quote, or the end of the text. */
function closingQuote(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i;
  }
  return text.length;
}

/** The key a quoted string stands for; a broken one stands for itself, since `JSON.parse` will refuse it. */
function decodeKey(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted;
  }
}
