/** `json.dumps`, as `tojson` of chat templates calls it. */
import { order, room, truth } from "./operations.js";
import { float } from "./text.js";
import { fail, is, isInteger, isString, itemsOf, typeName, type Value } from "./values.js";

export interface JsonSettings {
  readonly ensure_ascii: Value;
  readonly indent: Value;
  readonly separators: Value;
  readonly sort_keys: Value;
}

export function toJson(value: Value, settings: JsonSettings): string {
  const { indent, separators } = settings;
  const step = indent === null ? null : isString(indent) ? indent : " ".repeat(spaces(indent));
  const given = separators === null ? null : itemsOf(separators);
  if (separators !== null && given?.length !== 2) fail("separators must be two texts");
  const [comma, colon] = given?.map(String) ?? [step === null ? ", " : ",", ": "];
  const ascii = truth(settings.ensure_ascii);
  const sorted = truth(settings.sort_keys);

  return written(value, "\n");

  function written(value: Value, line: string): string {
    if (isString(value)) return text(value);
    if (value === null) return "null";
    if (typeof value === "boolean") return value ? "true" : "false";
    if (typeof value === "bigint") return String(value);
    if (typeof value === "number") return number(value);
    const inner = step === null ? "" : line + step;
    const outer = step === null ? "" : line;
    const joined = (open: string, parts: readonly string[], close: string) =>
      parts.length === 0
        ? open + close
        : open + inner + parts.join(`${comma}${inner}`) + outer + close;
    const items = itemsOf(value);
    if (items !== null)
      return joined(
        "[",
        items.map((item) => written(item, line + step)),
        "]",
      );
    if (is(value, "dict")) {
      const pairs = [...value.entries.values()];
      if (sorted) pairs.sort(([a], [b]) => order(a, b));
      const parts = pairs.map(
        ([key, item]) => text(keyOf(key)) + colon + written(item, line + step),
      );
      return joined("{", parts, "}");
    }
    return fail(`Object of type ${typeName(value)} is not JSON serializable`);
  }

  function text(value: string): string {
    const pattern = ascii ? /["\\\p{Cc}\u{80}-\u{10ffff}]/gu : /["\\\p{Cc}]/gu;
    const inner = value.replace(pattern, (character) => {
      const short = SHORT[character];
      if (short !== undefined) return short;
      const code = character.charCodeAt(0);
      if (code >= 0x7f && (!ascii || code === 0x7f)) return character;
      // Both halves of a character that has two.
      return character
        .split("")
        .map((half) => `\\u${half.charCodeAt(0).toString(16).padStart(4, "0")}`)
        .join("");
    });
    return `"${inner}"`;
  }
}

const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\f": "\\f",
  "\b": "\\b",
};

function spaces(indent: Value): number {
  if (!isInteger(indent)) return fail("indent must be a number or a text");
  return room(Math.max(0, Number(indent)));
}

function number(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Infinity" : "-Infinity";
  return float(value);
}

function keyOf(key: Value): string {
  if (isString(key)) return key;
  if (key === null) return "null";
  if (typeof key === "boolean") return key ? "true" : "false";
  if (typeof key === "bigint") return String(key);
  if (typeof key === "number") return number(key);
  return fail(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}
