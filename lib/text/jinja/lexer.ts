/** A template's tokens. Blocks are trimmed as chat templates expect it: `trim_blocks` and `lstrip_blocks`. */
import { TemplateError } from "./values.js";

export interface Token {
  readonly type:
    | "data"
    | "begin"
    | "end"
    | "name"
    | "string"
    | "integer"
    | "float"
    | "operator"
    | "eof";
  /** The text; of `begin` and `end`, "variable" or "block". */
  readonly value: string;
  readonly line: number;
}

/** Python's white space, which JavaScript's is not quite. */
export const SPACE =
  "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/** What ends a line for `splitlines`. */
export const LINE_END = "\\n-\\r\\x1c-\\x1e\\x85\\u2028\\u2029";

const S = `[${SPACE}]`;
const at = (pattern: string) => new RegExp(pattern, "suy");
const OPENING = at(`(.*?)(?:(\\{%([-+]?)${S}*raw${S}*(?:-%\\}${S}*|%\\}))|\\{([{%#])([-+]?))`);
const COMMENT_END = at(`.*?(?:\\+#\\}|-#\\}${S}*|#\\}\\n?)`);
const RAW_END = at(`(.*?)\\{%([-+]?)${S}*endraw${S}*(?:\\+%\\}|-%\\}${S}*|%\\}\\n?)`);
const BLOCK_END = at(`\\+%\\}|-%\\}${S}*|%\\}\\n?`);
const VARIABLE_END = at(`-\\}\\}${S}*|\\}\\}`);
const RULES = [
  [null, at(`${S}+`)],
  [
    "float",
    at("(?<!\\.)(?:\\d+_)*\\d+(?:(?:\\.(?:\\d+_)*\\d+)?[eE][-+]?(?:\\d+_)*\\d+|\\.(?:\\d+_)*\\d+)"),
  ],
  [
    "integer",
    at("0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\\da-fA-F])+|[1-9](?:_?\\d)*|0(?:_?0)*"),
  ],
  ["name", at("[\\p{L}\\p{M}\\p{N}\\p{Pc}]+")],
  ["string", at("'(?:[^'\\\\]|\\\\.)*'|\"(?:[^\"\\\\]|\\\\.)*\"")],
  ["operator", at("\\*\\*|//|[=!<>]=|[-+/*%~[\\](){}<>=.:|,;]")],
] as const;

const CLOSING: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };

export function tokenize(template: string): Token[] {
  const source = template.replace(/\r\n?/g, "\n").replace(/\n$/, "");
  const tokens: Token[] = [];
  let position = 0;
  let line = 1;
  let lineStarts = true;
  const refuse = (message: string): never => {
    throw new TemplateError(`line ${line}: ${message}`);
  };
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    return pattern.exec(source);
  };
  const advance = (text: string): void => {
    position += text.length;
    line += text.split("\n").length - 1;
    if (text !== "") lineStarts = text.endsWith("\n");
  };
  const data = (text: string, sign: string, block: boolean): void => {
    let kept = text;
    if (sign === "-") {
      kept = text.replace(new RegExp(`${S}+$`, "u"), "");
    } else if (sign !== "+" && block) {
      const start = text.lastIndexOf("\n") + 1;
      const blank = new RegExp(`^${S}+$`, "u").test(text.slice(start));
      if (blank && (start > 0 || lineStarts)) kept = text.slice(0, start);
    }
    if (kept !== "") tokens.push({ type: "data", value: kept, line });
  };

  while (position < source.length) {
    const found = match(OPENING);
    if (found === null) {
      tokens.push({ type: "data", value: source.slice(position), line });
      break;
    }
    const [whole, text = "", raw, rawSign, kind, sign] = found;
    data(text, rawSign ?? sign ?? "", kind !== "{");
    advance(whole);
    if (raw !== undefined) {
      const end = match(RAW_END) ?? refuse("a raw block has no end");
      data(end[1] ?? "", end[2] ?? "", true);
      advance(end[0]);
    } else if (kind === "#") {
      advance((match(COMMENT_END) ?? refuse("a comment has no end"))[0]);
    } else {
      expression(kind === "{" ? "variable" : "block");
    }
  }
  tokens.push({ type: "eof", value: "", line });
  return tokens;

  /** The tokens up to the end of a variable or block. */
  function expression(value: "variable" | "block"): void {
    const start = line;
    tokens.push({ type: "begin", value, line });
    const open: string[] = [];
    for (;;) {
      const end = open.length > 0 ? null : match(value === "block" ? BLOCK_END : VARIABLE_END);
      if (end !== null) {
        tokens.push({ type: "end", value, line });
        advance(end[0]);
        return;
      }
      if (position >= source.length) refuse(`what begins in line ${start} has no end`);
      const token = next();
      if (token === undefined) {
        refuse(`unexpected character ${JSON.stringify(source[position])}`);
        return;
      }
      const [type, text] = token;
      if (type === "operator") {
        const closing = CLOSING[text];
        if (closing !== undefined) open.push(closing);
        else if (")]}".includes(text) && open.pop() !== text) refuse(`unexpected '${text}'`);
      }
      if (type !== null) tokens.push({ type, value: meaning(type, text), line });
      advance(text);
    }
  }

  function next() {
    for (const [type, pattern] of RULES) {
      const found = match(pattern);
      if (found !== null) return [type, found[0]] as const;
    }
    return undefined;
  }

  function meaning(type: string, text: string): string {
    if (type === "string") return unescaped(text.slice(1, -1), refuse);
    if (type === "name" && /^\p{N}/u.test(text)) refuse(`unexpected '${text}'`);
    return type === "integer" || type === "float" ? text.replaceAll("_", "") : text;
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** As in a string literal of Python; what is no escape stays as it is. */
function unescaped(text: string, refuse: (message: string) => never): string {
  const pattern = /\\(?:([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.))/gsu;
  return text.replace(pattern, (whole, octal, x, u, U, other) => {
    if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
    const hex = x ?? u ?? U;
    if (hex !== undefined) {
      const code = Number.parseInt(hex, 16);
      return code > 0x10ffff ? refuse("illegal Unicode character") : String.fromCodePoint(code);
    }
    if ("xuUN".includes(other)) return refuse(`'${whole}' is no complete escape`);
    return ESCAPES[other] ?? whole;
  });
}
