/** `str()` and `repr()`. */
import { is, isString, type Value } from "./values.js";

export function str(value: Value): string {
  if (isString(value)) return value;
  if (is(value, "undefined")) return "";
  return repr(value);
}

export function repr(value: Value): string {
  if (value === null) return "None";
  switch (typeof value) {
    case "string":
      return quoted(value);
    case "boolean":
      return value ? "True" : "False";
    case "bigint":
      return String(value);
    case "number":
      return float(value);
  }
  if (Array.isArray(value)) return `[${value.map(repr).join(", ")}]`;
  switch (value.kind) {
    case "tuple":
      return value.items.length === 1
        ? `(${repr(value.items[0] ?? null)},)`
        : `(${value.items.map(repr).join(", ")})`;
    case "dict":
      return `{${[...value.entries.values()].map(([k, v]) => `${repr(k)}: ${repr(v)}`).join(", ")}}`;
    case "undefined":
      return "Undefined";
    case "range": {
      const { start, stop, step } = value;
      return `range(${start}, ${stop}${step === 1n ? "" : `, ${step}`})`;
    }
    case "view":
      return `${value.name}(${repr(value.items())})`;
    case "lazy":
      return "<generator object>";
    case "callable":
      return `<function ${value.name}>`;
    case "thing": {
      const shown = value.get("__repr__");
      return shown !== undefined && isString(shown) ? shown : `<${value.name}>`;
    }
  }
}

/** The shortest digits that read back as the same number, as Python lays them out. */
export function float(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Object.is(value, -0)) return "-0.0";
  const [mantissa = "", power = "0"] = value.toExponential().split("e");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const digits = String(Math.abs(exponent)).padStart(2, "0");
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${digits}`;
  }
  const sign = mantissa.startsWith("-") ? "-" : "";
  const digits = mantissa.replace(/[-.]/g, "");
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const padded = digits.padEnd(exponent + 1, "0");
  return `${sign}${padded.slice(0, exponent + 1)}.${padded.slice(exponent + 1) || "0"}`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(/[\\\p{C}\p{Z}'"]/gu, (character) => {
    if (character === " ") return character;
    if (character === "'" || character === '"')
      return character === quote ? `\\${quote}` : character;
    const code = character.codePointAt(0) ?? 0;
    const hex = code.toString(16);
    if (ESCAPES[character] !== undefined) return ESCAPES[character];
    if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
  return quote + inner + quote;
}
