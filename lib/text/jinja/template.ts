/**
 * Chat templates are written for Python's Jinja, in the sandbox and with the names that `transformers` gives it, and rely on what
 * Python's values do. This renders them so: no JavaScript library does by a wide margin.
 */
import { createGlobals } from "./globals.js";
import { parse } from "./parser.js";
import { renderBody } from "./render.js";
import { fromJs, TemplateError } from "./values.js";

/** Renders with these variables. Throws TemplateError, whose message begins with the line. */
export type Template = (variables: Readonly<Record<string, unknown>>, now?: Date) => string;

/** Throws TemplateError where the template cannot be read. */
export function compileTemplate(source: string): Template {
  const body = readable(() => parse(source));
  return (variables, now) => {
    const globals = createGlobals(() => now ?? new Date());
    const given = Object.entries(variables).filter(([, value]) => value !== undefined);
    const values = new Map(given.map(([name, value]) => [name, fromJs(value)] as const));
    return renderBody(body, {
      values,
      names: null,
      parent: { values: new Map(globals), parent: null, names: null },
    });
  };
}

function readable<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof RangeError) throw new TemplateError("it nests too deeply");
    throw error;
  }
}
