/** What a template is made of. */
import type { Value } from "./values.js";

export interface CallArguments {
  readonly positional: readonly Expression[];
  readonly named: readonly (readonly [string, Expression])[];
  /** `*list` and `**dict`. */
  readonly rest: Expression | null;
  readonly namedRest: Expression | null;
}

export type Expression = { readonly line: number } & (
  | { readonly type: "constant"; readonly value: Value }
  | { readonly type: "name"; readonly name: string }
  | { readonly type: "tuple" | "list" | "concat"; readonly items: readonly Expression[] }
  | { readonly type: "dict"; readonly pairs: readonly (readonly [Expression, Expression])[] }
  | {
      readonly type: "condition";
      readonly test: Expression;
      readonly value: Expression;
      readonly otherwise: Expression | null;
    }
  | { readonly type: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | { readonly type: "not" | "negative" | "positive"; readonly operand: Expression }
  | {
      readonly type: "compare";
      readonly left: Expression;
      readonly rest: readonly (readonly [operator: string, right: Expression])[];
    }
  | {
      readonly type: "binary";
      readonly operator: string;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly type: "attribute"; readonly object: Expression; readonly name: string }
  | { readonly type: "item"; readonly object: Expression; readonly index: Expression }
  | { readonly type: "slice"; readonly parts: readonly (Expression | null)[] }
  | { readonly type: "call"; readonly callee: Expression; readonly args: CallArguments }
  | {
      readonly type: "filter";
      /** Null where a block's text is filtered. */
      readonly operand: Expression | null;
      readonly name: string;
      readonly args: CallArguments;
    }
  | {
      readonly type: "test";
      readonly operand: Expression;
      readonly name: string;
      readonly args: CallArguments;
    }
);

/** What can be assigned to. */
export type Target =
  | { readonly type: "name"; readonly name: string }
  | { readonly type: "attribute"; readonly object: string; readonly name: string }
  | { readonly type: "tuple"; readonly items: readonly Target[] };

export interface Signature {
  readonly parameters: readonly { readonly name: string; readonly fallback: Expression | null }[];
}

export type Statement = { readonly line: number } & (
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "output"; readonly value: Expression }
  | {
      readonly type: "if";
      readonly branches: readonly (readonly [test: Expression, body: Body])[];
      readonly otherwise: Body;
    }
  | {
      readonly type: "for";
      readonly target: Target;
      readonly iterable: Expression;
      readonly test: Expression | null;
      readonly recursive: boolean;
      readonly body: Body;
      readonly otherwise: Body;
    }
  | { readonly type: "set"; readonly target: Target; readonly value: Expression }
  | {
      readonly type: "capture";
      readonly target: Target;
      readonly filter: Expression | null;
      readonly body: Body;
    }
  | {
      readonly type: "macro";
      readonly name: string;
      readonly signature: Signature;
      readonly body: Body;
    }
  | {
      readonly type: "callBlock";
      readonly signature: Signature;
      readonly call: Expression;
      readonly body: Body;
    }
  | { readonly type: "filterBlock"; readonly filter: Expression; readonly body: Body }
  | {
      readonly type: "with";
      readonly values: readonly (readonly [Target, Expression])[];
      readonly body: Body;
    }
  /** A part with names of its own: a block, or what the assistant says. */
  | { readonly type: "scope"; readonly body: Body }
  | { readonly type: "break" | "continue" }
  /** Nothing a template by itself can do. */
  | { readonly type: "impossible"; readonly tag: string }
);

export type Body = readonly Statement[];
