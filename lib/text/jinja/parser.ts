/** From tokens to what they mean. */
import { type Token, tokenize } from "./lexer.js";
import type { Body, CallArguments, Expression, Signature, Statement, Target } from "./nodes.js";
import { TemplateError } from "./values.js";

const COMPARISONS = ["==", "!=", "<", "<=", ">", ">="];
const OTHER_TEMPLATES = ["include", "import", "from", "extends"];

export function parse(template: string): Body {
  const tokens = tokenize(template);
  let position = 0;
  /** How many loops are open, for `break` and `continue`. */
  let loops = 0;

  const current = (): Token => tokens[position] ?? (tokens.at(-1) as Token);
  const look = (): Token => tokens[position + 1] ?? (tokens.at(-1) as Token);
  const refuse = (message: string, line = current().line): never => {
    throw new TemplateError(`line ${line}: ${message}`);
  };
  const isAt = (type: Token["type"], value?: string, token = current()) =>
    token.type === type && (value === undefined || token.value === value);
  const operator = (value: string) => isAt("operator", value);
  const keyword = (value: string) => isAt("name", value);
  const next = (): Token => {
    const token = current();
    position++;
    return token;
  };
  const skip = (type: Token["type"], value: string): boolean => {
    if (!isAt(type, value)) return false;
    position++;
    return true;
  };
  const expect = (type: Token["type"], value?: string): Token => {
    if (isAt(type, value)) return next();
    return refuse(`expected ${value ?? type}, found ${shown(current())}`);
  };

  const body = statements([]);
  return body;

  /** Statements up to one of the tags in `ends`, whose name has not been read then. */
  function statements(ends: readonly string[]): Body {
    const list: Statement[] = [];
    const started = current().line;
    for (;;) {
      const token = next();
      const { line } = token;
      if (token.type === "eof") {
        if (ends.length > 0)
          refuse(`expected ${ends.join(" or ")} for what begins in line ${started}`, line);
        position--;
        return list;
      }
      if (token.type === "data") {
        list.push({ type: "text", text: token.value, line });
      } else if (token.value === "variable") {
        list.push({ type: "output", value: tuple(), line });
        expect("end", "variable");
      } else {
        if (current().type === "name" && ends.includes(current().value)) return list;
        list.push(statement(line));
        expect("end", "block");
      }
    }
  }

  function block(ends: readonly string[]): Body {
    expect("end", "block");
    return statements(ends);
  }

  /** A body up to its end tag, and the end tag. */
  function bodyUntil(end: string): Body {
    const result = block([end]);
    next();
    return result;
  }

  function statement(line: number): Statement {
    const tag = expect("name").value;
    switch (tag) {
      case "if":
        return ifStatement(line);
      case "for":
        return forStatement(line);
      case "set":
        return setStatement(line);
      case "macro": {
        const name = expect("name").value;
        return { type: "macro", name, signature: signature(), body: separately("endmacro"), line };
      }
      case "call": {
        const parameters = operator("(") ? signature() : { parameters: [] };
        const call = expression();
        if (call.type !== "call") refuse("a call block needs a call", line);
        return {
          type: "callBlock",
          signature: parameters,
          call,
          body: separately("endcall"),
          line,
        };
      }
      case "filter": {
        const filter = filters(null, true);
        return { type: "filterBlock", filter, body: bodyUntil("endfilter"), line };
      }
      case "with": {
        const values: (readonly [Target, Expression])[] = [];
        while (!isAt("end")) {
          if (values.length > 0) expect("operator", ",");
          const to = target(primary());
          expect("operator", "=");
          values.push([to, expression()]);
        }
        return { type: "with", values, body: bodyUntil("endwith"), line };
      }
      case "generation":
        return { type: "scope", body: separately("endgeneration"), line };
      case "autoescape": {
        const escapes = expression();
        const inner = bodyUntil("endautoescape");
        const off = escapes.type === "constant" && escapes.value === false;
        return off ? { type: "scope", body: inner, line } : { type: "impossible", tag, line };
      }
      case "block": {
        const { value } = expect("name");
        while (keyword("scoped") || keyword("required")) next();
        const inner = separately("endblock");
        skip("name", value);
        return { type: "scope", body: inner, line };
      }
      case "break":
      case "continue":
        if (loops === 0) refuse(`${tag} outside of a loop`, line);
        return { type: tag, line };
    }
    if (!OTHER_TEMPLATES.includes(tag)) refuse(`unknown tag '${tag}'`, line);
    while (!isAt("end") && !isAt("eof")) next();
    return { type: "impossible", tag, line };
  }

  /** A body that loops around it cannot be left from. */
  function separately(end: string): Body {
    const outer = loops;
    loops = 0;
    const result = bodyUntil(end);
    loops = outer;
    return result;
  }

  function ifStatement(line: number): Statement {
    const branches: (readonly [Expression, Body])[] = [];
    for (;;) {
      const test = tuple(false);
      branches.push([test, block(["elif", "else", "endif"])]);
      const { value } = next();
      if (value === "elif") continue;
      return { type: "if", branches, otherwise: value === "else" ? bodyUntil("endif") : [], line };
    }
  }

  function forStatement(line: number): Statement {
    const to = targets(["in"]);
    expect("name", "in");
    const iterable = tuple(false, ["recursive"]);
    const test = skip("name", "if") ? expression() : null;
    const recursive = skip("name", "recursive");
    loops++;
    const inner = block(["endfor", "else"]);
    loops--;
    const otherwise = next().value === "else" ? bodyUntil("endfor") : [];
    return { type: "for", target: to, iterable, test, recursive, body: inner, otherwise, line };
  }

  function setStatement(line: number): Statement {
    const to = targets([]);
    if (skip("operator", "=")) return { type: "set", target: to, value: tuple(), line };
    const filter = operator("|") ? filters(null, false) : null;
    return { type: "capture", target: to, filter, body: bodyUntil("endset"), line };
  }

  function signature(): Signature {
    const parameters: { name: string; fallback: Expression | null }[] = [];
    expect("operator", "(");
    while (!operator(")")) {
      if (parameters.length > 0) expect("operator", ",");
      const { value: name, line } = expect("name");
      const fallback = skip("operator", "=") ? expression() : null;
      if (fallback === null && parameters.at(-1)?.fallback) refuse("a default is missing", line);
      parameters.push({ name, fallback });
    }
    next();
    return { parameters };
  }

  function targets(ends: readonly string[]): Target {
    const items: Expression[] = [];
    let many = false;
    const { line } = current();
    for (;;) {
      if (items.length > 0) expect("operator", ",");
      if (isAt("end") || operator(")") || (isAt("name") && ends.includes(current().value))) break;
      items.push(assignable());
      if (!operator(",")) break;
      many = true;
    }
    const [first] = items;
    if (first === undefined) return refuse(`expected a name, found ${shown(current())}`);
    return target(many ? { type: "tuple", items, line } : first);
  }

  /** A name, an attribute of one, or several in parentheses. */
  function assignable(): Expression {
    const { line, value: name } = current();
    if (isAt("name") && isAt("operator", ".", look())) {
      position += 2;
      const object: Expression = { type: "name", name, line };
      return { type: "attribute", object, name: expect("name").value, line };
    }
    return primary();
  }

  function target(node: Expression): Target {
    if (node.type === "name" && !["true", "false", "none"].includes(node.name.toLowerCase())) {
      return { type: "name", name: node.name };
    }
    if (node.type === "attribute" && node.object.type === "name") {
      return { type: "attribute", object: node.object.name, name: node.name };
    }
    if (node.type === "tuple") return { type: "tuple", items: node.items.map(target) };
    return refuse("what is assigned to must be a name", node.line);
  }

  /** One expression, or several with commas. */
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
        position += 2;
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

  /** @param inline the first filter stands without its bar */
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

const NO_ARGUMENTS: CallArguments = { positional: [], named: [], rest: null, namedRest: null };

function shown({ type, value }: Token): string {
  if (type === "eof") return "the end of the template";
  if (type === "begin" || type === "end") return `the ${type} of a ${value}`;
  return type === "string" ? JSON.stringify(value) : `'${value}'`;
}
