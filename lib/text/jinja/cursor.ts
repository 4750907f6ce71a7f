/** Where a parser stands among the tokens. */
import type { Token } from "./lexer.js";
import { TemplateError } from "./values.js";

export interface Cursor {
  current(): Token;
  /** The token after the current one. */
  look(): Token;
  next(): Token;
  /** Whether the current token, or the one given, is of this type and value. */
  isAt(type: Token["type"], value?: string, token?: Token): boolean;
  operator(value: string): boolean;
  keyword(value: string): boolean;
  /** Goes on if the current token is this one. */
  skip(type: Token["type"], value: string): boolean;
  /** Goes on, or throws TemplateError. */
  expect(type: Token["type"], value?: string): Token;
  refuse(message: string, line?: number): never;
}

export function createCursor(tokens: readonly Token[]): Cursor {
  let position = 0;
  const at = (index: number) => tokens[Math.min(index, tokens.length - 1)] as Token;
  const current = () => at(position);
  const isAt: Cursor["isAt"] = (type, value, token = current()) =>
    token.type === type && (value === undefined || token.value === value);
  const next = (): Token => {
    const token = current();
    position++;
    return token;
  };
  const refuse = (message: string, line = current().line): never => {
    throw new TemplateError(`line ${line}: ${message}`);
  };
  return {
    current,
    look: () => at(position + 1),
    next,
    isAt,
    operator: (value) => isAt("operator", value),
    keyword: (value) => isAt("name", value),
    skip(type, value) {
      if (!isAt(type, value)) return false;
      position++;
      return true;
    },
    expect(type, value) {
      if (isAt(type, value)) return next();
      return refuse(`expected ${value ?? type}, found ${shown(current())}`);
    },
    refuse,
  };
}

/** A token in a message. */
export function shown({ type, value }: Token): string {
  if (type === "eof") return "the end of the template";
  if (type === "begin" || type === "end") return `the ${type} of a ${value}`;
  return type === "string" ? JSON.stringify(value) : `'${value}'`;
}
