import { readFile } from "node:fs/promises";
import { codeOf, messageOf, NviumError } from "../errors.js";
import { compare } from "./compare.js";
import { generate } from "./generate.js";
import { quantise } from "./quantise.js";
import { printable } from "./terminal.js";
import { type Context, INTERRUPTED, UsageError } from "./types.js";

const help = `Usage: nvium <command> [options]

Runs N-vium language models.

Commands:
  generate    continue a text
  quantize    write a checkpoint whose matrices are small integers
  compare     tell how far a quantised model is from the stored one

Options:
  -h, --help     show this; "nvium <command> --help" shows a command's options
  -v, --version  show the version
`;

const COMMANDS: Readonly<
  Record<string, (args: readonly string[], context: Context) => Promise<void>>
> = { compare, generate, quantize: quantise };

/** Runs the command line and resolves to the exit code. */
export async function run(args: readonly string[], context: Context): Promise<number> {
  const [name, ...rest] = args;
  if (name === "--help" || name === "-h") {
    context.stdout.write(help);
    return 0;
  }
  if (name === "--version" || name === "-v") {
    context.stdout.write(`${await version()}\n`);
    return 0;
  }
  const command = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (name === undefined || command === undefined) {
    const problem = name === undefined ? "no command" : `no such command: ${name}`;
    context.stderr.write(`nvium: ${problem}\n\n${help}`);
    return 2;
  }
  try {
    await command(rest, context);
    return 0;
  } catch (error) {
    // A pipe that is no longer read is no failure of ours.
    if (isBrokenPipe(error)) return 0;
    if (error === INTERRUPTED) return 130;
    if (wantsJson(rest)) context.stdout.write(`${JSON.stringify(errorEvent(error))}\n`);
    // The engine knows limits of options that the command line does not.
    const invalid = error instanceof NviumError && error.code === "ERR_NVIUM_INVALID_ARG";
    if (error instanceof UsageError || invalid) {
      const message = printable(error.message);
      context.stderr.write(`nvium ${name}: ${message}\nTry "nvium ${name} --help".\n`);
      return 2;
    }
    context.stderr.write(`nvium: ${printable(describe(error))}\n`);
    return 1;
  }
}

function isBrokenPipe(error: unknown): boolean {
  return codeOf(error) === "EPIPE";
}

/** Also where the command line cannot be understood otherwise. */
function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return args.slice(0, end < 0 ? args.length : end).includes("--json");
}

function errorEvent(error: unknown): Record<string, unknown> {
  const code = error instanceof NviumError ? error.code : null;
  return { type: "error", code, message: messageOf(error) };
}

function describe(error: unknown): string {
  if (error instanceof NviumError) return `${error.message} (${error.code})`;
  return messageOf(error);
}

async function version(): Promise<string> {
  const file = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(file) as { version: string }).version;
}
