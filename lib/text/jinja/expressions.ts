/** Reading expressions. */
import { type Cursor, shown } from "./cursor.js";
import type { CallArguments, Expression } from "./nodes.js";

const COMPARISONS = ["==", "!=", "<", "<=", ">", ">="];

const NO_ARGUMENTS: CallArguments = { positional: [], named: [], rest: null, namedRest: null };

export interface Expressions {
  expression(): Expression;
  /**
   * One expression, or several with commas.
   *
   * @param conditional whether `… if …` may stand there
   * @param ends names that end it
   * @param empty whether there may be none
   */
  tuple(conditional?: boolean, ends?: readonly string[], empty?: boolean): Expression;
  primary(): Expression;
  /** @param inline the first filter stands without its bar */
  filters(operand: Expression | null, inline: boolean): Expression;
}

export function expressionsAt(cursor: Cursor): Expressions {
  const { current, look, next, isAt, operator, keyword, skip, expect } = cursor;
  const refuse: Cursor["refuse"] = cursor.refuse;
  return { expression, tuple, primary, filters };

  function tuple(conditional = true, ends: readonly string[] = [], empty = false): Expression {
    const { line } = current();
    const items: Expression[] = [];
    let many = false;
    for (;;) {
      if (items.length > 0) expect("operator", ",");
      if (isAt("end") || operator(")") || (isAt("name") && ends.includes(current().value))) break;
      items.push(conditional ? expression() : or());
      if (!operator(",")) break;
      many = true;
    }
    const [first] = items;
    if (!many && first !== undefined) return first;
    if (!many && !empty) refuse(`expected an expression, found ${shown(current())}`);
    return { type: "tuple", items, line };
  }

  function expression(): Expression {
    let node = or();
    while (skip("name", "if")) {
      const { line } = node;
      const test = or();
      const otherwise = skip("name", "else") ? expression() : null;
      node = { type: "condition", test, value: node, otherwise, line };
    }
    return node;
  }

  function or(): Expression {
    let left = and();
    while (skip("name", "or")) left = { type: "or", left, right: and(), line: left.line };
    return left;
  }

  function and(): Expression {
    let left = not();
    while (skip("name", "and")) left = { type: "and", left, right: not(), line: left.line };
    return left;
  }

  function not(): Expression {
    const { line } = current();
    return skip("name", "not") ? { type: "not", operand: not(), line } : compare();
  }

  function compare(): Expression {
    const left = sum();
    const rest: (readonly [string, Expression])[] = [];
    for (;;) {
      if (isAt("operator") && COMPARISONS.includes(current().value)) {
        rest.push([next().value, sum()]);
      } else if (skip("name", "in")) {
        rest.push(["in", sum()]);
      } else if (keyword("not") && isAt("name", "in", look())) {
        next();
        next();
        rest.push(["not in", sum()]);
      } else {
        return rest.length === 0 ? left : { type: "compare", left, rest, line: left.line };
      }
    }
  }

  function binary(operand: () => Expression, operators: readonly string[]): Expression {
    let left = operand();
    while (isAt("operator") && operators.includes(current().value)) {
      const { value } = next();
      left = { type: "binary", operator: value, left, right: operand(), line: left.line };
    }
    return left;
  }

  function sum(): Expression {
    return binary(concat, ["+", "-"]);
  }

  function concat(): Expression {
    const first = product();
    const items = [first];
    while (skip("operator", "~")) items.push(product());
    return items.length === 1 ? first : { type: "concat", items, line: first.line };
  }

  function product(): Expression {
    return binary(() => binary(unary, ["**"]), ["*", "/", "//", "%"]);
  }

  function unary(filtered = true): Expression {
    const { line } = current();
    let node: Expression;
    if (skip("operator", "-")) node = { type: "negative", operand: unary(false), line };
    else if (skip("operator", "+")) node = { type: "positive", operand: unary(false), line };
    else node = primary();
    node = postfix(node);
    return filtered ? filtersAndTests(node) : node;
  }

  function primary(): Expression {
    const token = next();
    const { type, value, line } = token;
    switch (type) {
      case "name":
        if (value === "true" || value === "True") return { type: "constant", value: true, line };
        if (value === "false" || value === "False") return { type: "constant", value: false, line };
        if (value === "none" || value === "None") return { type: "constant", value: null, line };
        return { type: "name", name: value, line };
      case "string": {
        let text = value;
        while (isAt("string")) text += next().value;
        return { type: "constant", value: text, line };
      }
      case "integer":
        return { type: "constant", value: BigInt(/^0+$/.test(value) ? "0" : value), line };
      case "float":
        return { type: "constant", value: Number(value), line };
      case "operator":
        if (value === "(") {
          const inner = tuple(true, [], true);
          expect("operator", ")");
          return inner;
        }
        if (value === "[") return { type: "list", items: listed("]", expression), line };
        if (value === "{") {
          const pair = () => {
            const key = expression();
            expect("operator", ":");
            return [key, expression()] as const;
          };
          return { type: "dict", pairs: listed("}", pair), line };
        }
    }
    return refuse(`unexpected ${shown(token)}`, line);
  }

  /** Up to the closing bracket, which is read; a comma may stand before it. */
  function listed<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (!operator(end)) {
      if (items.length > 0) expect("operator", ",");
      if (operator(end)) break;
      items.push(item());
    }
    next();
    return items;
  }

  function postfix(start: Expression): Expression {
    let node = start;
    for (;;) {
      const { line } = current();
      if (skip("operator", ".")) node = dotted(node, line);
      else if (skip("operator", "[")) node = subscript(node, line);
      else if (operator("(")) node = { type: "call", callee: node, args: callArguments(), line };
      else return node;
    }
  }

  function dotted(object: Expression, line: number): Expression {
    const token = next();
    if (token.type === "name") return { type: "attribute", object, name: token.value, line };
    if (token.type !== "integer") refuse("expected a name or a number", token.line);
    return {
      type: "item",
      object,
      index: { type: "constant", value: BigInt(token.value), line },
      line,
    };
  }

  function subscript(object: Expression, line: number): Expression {
    const items = listed("]", subscribed);
    const [only] = items;
    const index: Expression =
      items.length === 1 && only !== undefined ? only : { type: "tuple", items, line };
    return { type: "item", object, index, line };
  }

  function subscribed(): Expression {
    const { line } = current();
    const open = () => operator(":") || operator("]") || operator(",");
    const start = open() ? null : expression();
    if (!skip("operator", ":")) return start ?? refuse(`unexpected ${shown(current())}`);
    const stop = open() ? null : expression();
    const step = skip("operator", ":") && !open() ? expression() : null;
    return { type: "slice", parts: [start, stop, step], line };
  }

  function callArguments(): CallArguments {
    const { line } = expect("operator", "(");
    const positional: Expression[] = [];
    const named: (readonly [string, Expression])[] = [];
    let rest: Expression | null = null;
    let namedRest: Expression | null = null;
    const ensure = (right: boolean) => right || refuse("the arguments are in a wrong order", line);
    let first = true;
    while (!operator(")")) {
      if (!first) expect("operator", ",");
      first = false;
      if (operator(")")) break;
      if (skip("operator", "*")) {
        ensure(rest === null && namedRest === null);
        rest = expression();
      } else if (skip("operator", "**")) {
        ensure(namedRest === null);
        namedRest = expression();
      } else if (isAt("name") && isAt("operator", "=", look())) {
        ensure(namedRest === null);
        const name = next().value;
        next();
        named.push([name, expression()]);
      } else {
        ensure(rest === null && namedRest === null && named.length === 0);
        positional.push(expression());
      }
    }
    next();
    return { positional, named, rest, namedRest };
  }

  function filtersAndTests(start: Expression): Expression {
    let node = start;
    for (;;) {
      const { line } = current();
      if (operator("|")) node = filters(node, false);
      else if (keyword("is")) node = test(node);
      else if (operator("(")) node = { type: "call", callee: node, args: callArguments(), line };
      else return node;
    }
  }

  function filters(operand: Expression | null, inline: boolean): Expression {
    let node = operand;
    let bar = !inline;
    while (!bar || operator("|")) {
      if (bar) next();
      bar = true;
      const { line } = current();
      const name = dottedName();
      const args = operator("(") ? callArguments() : NO_ARGUMENTS;
      node = { type: "filter", operand: node, name, args, line };
    }
    return node as Expression;
  }

  function test(operand: Expression): Expression {
    const { line } = next();
    const negated = skip("name", "not");
    const name = dottedName();
    let args = NO_ARGUMENTS;
    if (operator("(")) {
      args = callArguments();
    } else if (
      operator("[") ||
      operator("{") ||
      isAt("string") ||
      isAt("integer") ||
      isAt("float") ||
      (isAt("name") && !["else", "or", "and"].includes(current().value))
    ) {
      if (keyword("is")) refuse("tests cannot be chained with is");
      args = { ...NO_ARGUMENTS, positional: [postfix(primary())] };
    }
    const node: Expression = { type: "test", operand, name, args, line };
    return negated ? { type: "not", operand: node, line } : node;
  }

  function dottedName(): string {
    let name = expect("name").value;
    while (skip("operator", ".")) name += `.${expect("name").value}`;
    return name;
  }
}
