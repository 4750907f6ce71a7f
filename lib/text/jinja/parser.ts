/** Reading a template. */
import { type Cursor, createCursor, shown } from "./cursor.js";
import { expressionsAt } from "./expressions.js";
import { tokenize } from "./lexer.js";
import type { Body, Expression, Signature, Statement, Target } from "./nodes.js";

const OTHER_TEMPLATES = ["include", "import", "from", "extends"];

export function parse(template: string): Body {
  const cursor = createCursor(tokenize(template));
  const { current, look, next, isAt, operator, keyword, skip, expect } = cursor;
  const refuse: Cursor["refuse"] = cursor.refuse;
  const { expression, tuple, primary, filters } = expressionsAt(cursor);
  /** How many loops are open, for `break` and `continue`. */
  let loops = 0;

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
      next();
      next();
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
}
