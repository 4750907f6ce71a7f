/** What the commands need from the engine and from the process, so that tests can stand in for both. */
import type { Model as EngineModel, LoadOptions } from "../model.js";

/** As much of a model as commands use. */
export type Model = Pick<EngineModel, "info" | "generate" | "encode" | "evaluate" | "dispose">;

export type LoadModel = (directory: string, options?: LoadOptions) => Promise<Model>;

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** Width of the terminal. */
  readonly columns?: number;
}

export interface Input extends AsyncIterable<Uint8Array | string> {
  readonly isTTY?: boolean;
  /** Ends a read that is waiting. */
  destroy(error?: Error): unknown;
}

/** The process as a command sees it. */
export interface Context {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted when the user interrupts, or when nobody reads the output any more. */
  readonly signal: AbortSignal;
  readonly loadModel: LoadModel;
}

/** The command line is wrong: exit code 2. */
export class UsageError extends Error {}

/** The reason a signal is aborted with when the user presses Ctrl-C. */
export const INTERRUPTED = new Error("interrupted");
