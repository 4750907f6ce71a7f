/**
 * Which names a part of a template assigns before it reads them. To Jinja such a name is the part's own from its beginning, so
 * what is nested in it finds it undefined rather than the variable of that name that the caller gave.
 */
import type { Body, Expression, Target } from "./nodes.js";

export interface Names {
  /** All that are read or assigned here, not in what is nested. */
  readonly mentioned: ReadonlySet<string>;
  readonly assigned: readonly string[];
}

const known = new WeakMap<Body, Names>();

export function namesOf(body: Body): Names {
  const ready = known.get(body) ?? collect(body);
  known.set(body, ready);
  return ready;
}

function collect(body: Body): Names {
  const mentioned = new Set<string>();
  const assigned: string[] = [];
  scan(body, true);
  return { mentioned, assigned };

  /** @param always what is assigned in a branch is so only sometimes, and stays the caller's until then */
  function scan(part: Body, always: boolean): void {
    for (const statement of part) {
      switch (statement.type) {
        case "output":
          read(statement.value);
          break;
        case "if":
          for (const [test] of statement.branches) read(test);
          for (const [, branch] of statement.branches) scan(branch, false);
          scan(statement.otherwise, false);
          break;
        case "for":
          read(statement.iterable);
          break;
        case "set":
          read(statement.value);
          assign(statement.target, always);
          break;
        case "capture":
          assign(statement.target, always);
          break;
        case "macro":
          assign({ type: "name", name: statement.name }, always);
          break;
        case "callBlock":
          read(statement.call);
          break;
        case "filterBlock":
          read(statement.filter);
          break;
        case "with":
          for (const [, value] of statement.values) read(value);
      }
    }
  }

  function read(node: Expression): void {
    for (const name of namesIn(node)) mentioned.add(name);
  }

  function assign(target: Target, always: boolean): void {
    if (target.type === "tuple") {
      for (const item of target.items) assign(item, always);
    } else if (target.type === "attribute") {
      mentioned.add(target.object);
    } else {
      if (always && !mentioned.has(target.name)) assigned.push(target.name);
      mentioned.add(target.name);
    }
  }
}

/** The names read anywhere in an expression, or in a body with all that is nested in it. */
export function* namesIn(part: unknown): Generator<string> {
  if (typeof part !== "object" || part === null) return;
  if ("type" in part && part.type === "name" && "name" in part && typeof part.name === "string") {
    yield part.name;
  }
  for (const value of Object.values(part)) yield* namesIn(value);
}
