/** Rendering: what each part of a template does. */
import { callable, REQUIRED } from "./arguments.js";
import { attribute, sliced, subscript } from "./attributes.js";
import { createFilters, type Filter, MISSING_FILTERS } from "./filters.js";
import { call } from "./globals.js";
import { loopOver } from "./loop.js";
import { namesIn, namesOf } from "./names.js";
import type { Body, CallArguments, Expression, Signature, Statement, Target } from "./nodes.js";
import { binary, compare, iterate, listOf, signed, truth } from "./operations.js";
import { createTests, type Test } from "./tests.js";
import { str } from "./text.js";
import {
  type Arguments,
  type Callable,
  dict,
  fail,
  is,
  TemplateError,
  tuple,
  undefinedValue,
  type Value,
} from "./values.js";

export interface Scope {
  readonly values: Map<string, Value>;
  readonly parent: Scope | null;
  /** Names that belong here, though they may not have been assigned yet; null where the caller's are. */
  readonly names: ReadonlySet<string> | null;
}

/** How a body ended: by itself, or by leaving the loop around it. */
type Ending = "break" | "continue" | undefined;

const NOTHING: Body = [];

/** The scope of a body in another. */
function inner(parent: Scope, body: Body): Scope {
  const { mentioned, assigned } = namesOf(body);
  const values = new Map<string, Value>();
  for (const name of assigned) {
    if (!isOwn(name, parent)) values.set(name, undefinedValue(`'${name}' is undefined`));
  }
  return { values, parent, names: mentioned };
}

function isOwn(name: string, scope: Scope): boolean {
  for (let at: Scope | null = scope; at !== null && at.names !== null; at = at.parent) {
    if (at.names.has(name) || at.values.has(name)) return true;
  }
  return false;
}

/** The text of `body` with the names in `root`. Throws TemplateError, with the line where it happened. */
export function renderBody(body: Body, root: Scope): string {
  let line = 1;
  const filters: ReadonlyMap<string, Filter> = createFilters({ filter, test });
  const tests: ReadonlyMap<string, Test> = createTests({ filters: () => new Set(filters.keys()) });
  try {
    return captured(body, inner(root, body));
  } catch (error) {
    // A RangeError: the stack has an end, and so have texts.
    if (!(error instanceof TemplateError || error instanceof RangeError)) throw error;
    throw new TemplateError(`line ${line}: ${error.message}`);
  }

  function filter(name: string): Filter {
    if (MISSING_FILTERS.includes(name)) fail(`the filter '${name}' is not supported`);
    return filters.get(name) ?? fail(`No filter named '${name}'.`);
  }

  function test(name: string): Test {
    return tests.get(name) ?? fail(`No test named '${name}'.`);
  }

  function captured(body: Body, scope: Scope): string {
    const out: string[] = [];
    run(body, scope, out);
    return out.join("");
  }

  function run(body: Body, scope: Scope, out: string[]): Ending {
    for (const statement of body) {
      line = statement.line;
      const ending = step(statement, scope, out);
      if (ending !== undefined) return ending;
    }
    return undefined;
  }

  function step(statement: Statement, scope: Scope, out: string[]): Ending {
    switch (statement.type) {
      case "text":
        out.push(statement.text);
        return undefined;
      case "output":
        out.push(str(evaluate(statement.value, scope)));
        return undefined;
      case "if": {
        const taken = statement.branches.find(([condition]) => truth(evaluate(condition, scope)));
        return run(taken?.[1] ?? statement.otherwise, scope, out);
      }
      case "for":
        return forLoop(statement, scope, out);
      case "set":
        assign(statement.target, evaluate(statement.value, scope), scope);
        return undefined;
      case "capture": {
        const text = captured(statement.body, inner(scope, statement.body));
        const value = statement.filter === null ? text : evaluate(statement.filter, scope, text);
        assign(statement.target, value, scope);
        return undefined;
      }
      case "macro":
        scope.values.set(
          statement.name,
          macro(statement.name, statement.signature, statement.body, scope),
        );
        return undefined;
      case "callBlock":
        out.push(callBlock(statement, scope));
        return undefined;
      case "filterBlock":
        out.push(
          str(
            evaluate(
              statement.filter,
              scope,
              captured(statement.body, inner(scope, statement.body)),
            ),
          ),
        );
        return undefined;
      case "with": {
        const within = inner(scope, statement.body);
        for (const [target, value] of statement.values)
          assign(target, evaluate(value, scope), within);
        return run(statement.body, within, out);
      }
      case "scope":
        return run(statement.body, inner(scope, statement.body), out);
      case "break":
      case "continue":
        return statement.type;
      case "impossible":
        return fail(`'${statement.tag}' is not supported in a chat template`);
    }
  }

  function forLoop(
    statement: Extract<Statement, { type: "for" }>,
    scope: Scope,
    out: string[],
    depth = 1,
    given?: Value,
  ): Ending {
    const { target, test, recursive, body } = statement;
    const values = listOf(given ?? evaluate(statement.iterable, scope)).filter((value) => {
      if (test === null) return true;
      const within = inner(scope, NOTHING);
      assign(target, value, within);
      return truth(evaluate(test, within));
    });
    const again = callable("loop", { iterable: REQUIRED }, ({ iterable }) => {
      if (!recursive)
        return fail("The loop must have the 'recursive' marker to be called recursively.");
      const parts: string[] = [];
      forLoop(statement, scope, parts, depth + 1, iterable);
      return parts.join("");
    });
    const loop = loopOver(values, depth, again);
    let completed = false;
    for (const value of values) {
      const within = inner(scope, body);
      within.values.set("loop", loop.next());
      assign(target, value, within);
      const ending = run(body, within, out);
      completed ||= ending === undefined;
      if (ending === "break") break;
    }
    // So it is in Jinja: what leaves each round early counts as none.
    if (completed) return undefined;
    return run(statement.otherwise, inner(scope, statement.otherwise), out);
  }

  function assign(target: Target, value: Value, scope: Scope): void {
    if (target.type === "name") {
      scope.values.set(target.name, value);
    } else if (target.type === "attribute") {
      const object = lookup(target.object, scope);
      if (!is(object, "thing") || object.set === undefined) {
        fail("cannot assign attribute on non-namespace object");
      } else {
        object.set(target.name, value);
      }
    } else {
      const { items } = target;
      const values = [...iterate(value)];
      if (values.length > items.length)
        fail(`too many values to unpack (expected ${items.length})`);
      if (values.length < items.length) {
        fail(`not enough values to unpack (expected ${items.length}, got ${values.length})`);
      }
      for (const [i, item] of items.entries()) assign(item, values[i] ?? null, scope);
    }
  }

  function lookup(name: string, scope: Scope): Value {
    for (let at: Scope | null = scope; at !== null; at = at.parent) {
      const value = at.values.get(name);
      if (value !== undefined) return value;
    }
    return undefinedValue(`'${name}' is undefined`);
  }

  function callBlock(
    { signature, call: node, body }: Extract<Statement, { type: "callBlock" }>,
    scope: Scope,
  ): string {
    if (node.type !== "call") return fail("a call block needs a call");
    const { positional, named } = argumentsOf(node.args, scope);
    const caller = macro("caller", signature, body, scope);
    const args = { positional, named: new Map([...named, ["caller", caller]]) };
    return str(call(evaluate(node.callee, scope), args));
  }

  function macro(name: string, { parameters }: Signature, body: Body, scope: Scope): Callable {
    const used = new Set(namesIn(body));
    const takes = (special: string) => used.has(special);
    const [takesRest, takesNamed, takesCaller] = ["varargs", "kwargs", "caller"].map(takes);
    const names = parameters.map((parameter) => parameter.name);
    return {
      kind: "callable",
      name,
      attributes: new Map<string, Value>([
        ["name", name],
        ["arguments", tuple(names)],
        ["catch_kwargs", takesNamed === true],
        ["catch_varargs", takesRest === true],
        ["caller", takesCaller === true],
      ]),
      call({ positional, named }) {
        const within = inner(scope, body);
        const rest = positional.slice(names.length);
        const others = new Map([...named].filter(([key]) => !names.includes(key)));
        const caller = others.get("caller");
        if (takesCaller) others.delete("caller");
        if (rest.length > 0 && !takesRest) {
          fail(`macro '${name}' takes not more than ${names.length} argument(s)`);
        }
        if (others.size > 0 && !takesNamed) {
          fail(`macro '${name}' takes no keyword argument '${[...others.keys()][0]}'`);
        }
        parameters.forEach(({ name: parameter, fallback }, i) => {
          const byName = named.get(parameter);
          if (byName !== undefined && i < positional.length) {
            fail(`macro '${name}' got multiple values for argument '${parameter}'`);
          }
          const given = i < positional.length ? positional[i] : byName;
          const missing = () =>
            fallback === null
              ? undefinedValue(`parameter '${parameter}' was not provided`)
              : evaluate(fallback, within);
          within.values.set(parameter, given === undefined ? missing() : given);
        });
        if (takesRest) within.values.set("varargs", tuple(rest));
        if (takesNamed) within.values.set("kwargs", dict(others));
        if (takesCaller) within.values.set("caller", caller ?? undefinedValue("No caller defined"));
        const from = line;
        const text = captured(body, within);
        line = from;
        return text;
      },
    };
  }

  function argumentsOf(args: CallArguments, scope: Scope): Arguments {
    const positional = args.positional.map((node) => evaluate(node, scope));
    const named = new Map(args.named.map(([name, node]) => [name, evaluate(node, scope)] as const));
    if (args.rest !== null) positional.push(...iterate(evaluate(args.rest, scope)));
    if (args.namedRest !== null) {
      const rest = evaluate(args.namedRest, scope);
      if (!is(rest, "dict")) fail("the argument after ** must be a mapping");
      else for (const [key, value] of rest.entries.values()) named.set(str(key), value);
    }
    return { positional, named };
  }

  /** @param text what a filter without an operand is applied to */
  function evaluate(node: Expression, scope: Scope, text?: string): Value {
    switch (node.type) {
      case "constant":
        return node.value;
      case "name":
        return lookup(node.name, scope);
      case "list":
        return node.items.map((item) => evaluate(item, scope));
      case "tuple":
        return tuple(node.items.map((item) => evaluate(item, scope)));
      case "concat":
        return node.items.map((item) => str(evaluate(item, scope))).join("");
      case "dict":
        return dict(
          node.pairs.map(([key, value]) => [evaluate(key, scope), evaluate(value, scope)] as const),
        );
      case "condition": {
        if (truth(evaluate(node.test, scope))) return evaluate(node.value, scope);
        if (node.otherwise !== null) return evaluate(node.otherwise, scope);
        return undefinedValue(
          `the inline if-expression on line ${node.line} evaluated to false and no else section was defined.`,
        );
      }
      case "and":
      case "or": {
        const left = evaluate(node.left, scope);
        return truth(left) === (node.type === "and") ? evaluate(node.right, scope) : left;
      }
      case "not":
        return !truth(evaluate(node.operand, scope));
      case "negative":
      case "positive":
        return signed(evaluate(node.operand, scope), node.type === "negative");
      case "compare": {
        let left = evaluate(node.left, scope);
        for (const [operator, other] of node.rest) {
          const right = evaluate(other, scope);
          if (!compare(operator, left, right)) return false;
          left = right;
        }
        return true;
      }
      case "binary":
        return binary(node.operator, evaluate(node.left, scope), evaluate(node.right, scope));
      case "attribute":
        return attribute(evaluate(node.object, scope), node.name);
      case "item": {
        const object = evaluate(node.object, scope);
        if (node.index.type !== "slice") return subscript(object, evaluate(node.index, scope));
        const parts = node.index.parts.map((part) =>
          part === null ? null : evaluate(part, scope),
        );
        return sliced(object, parts);
      }
      case "slice":
        return fail("a slice can stand in brackets only");
      case "call": {
        const callee = evaluate(node.callee, scope);
        const args = argumentsOf(node.args, scope);
        line = node.line;
        return call(callee, args);
      }
      case "filter": {
        const operand = node.operand === null ? (text ?? "") : evaluate(node.operand, scope, text);
        const args = argumentsOf(node.args, scope);
        line = node.line;
        return filter(node.name)(operand, args);
      }
      case "test": {
        const operand = evaluate(node.operand, scope);
        return test(node.name)(operand, argumentsOf(node.args, scope));
      }
    }
  }
}
