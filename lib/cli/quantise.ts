import { parseArgs } from "node:util";
import { quantise as quantiseCheckpoint } from "../quantise.js";
import { oneOf } from "./options.js";
import { createProgressLine } from "./terminal.js";
import { type Context, UsageError } from "./types.js";

export const quantiseHelp = `Usage: nvium quantize [options] <in> <out>

Writes the checkpoint in the directory <in> to the directory <out>, which must
not exist, with the matrices of layers, adapters and heads as small integers.
It loads without the original, to the same model as loading that with --dtype.

Options:
      --dtype <int8|int4>     0.51 or 0.28 of the bytes as bf16 (default: int8)
  -h, --help                  show this
`;

/** The command `nvium quantize`. */
export async function quantise(args: readonly string[], context: Context): Promise<void> {
  const { values, positionals } = parse(args);
  if (values.help) {
    context.stdout.write(quantiseHelp);
    return;
  }
  const [from, to, ...more] = positionals;
  if (from === undefined || to === undefined || more.length > 0) {
    throw new UsageError("two directories are needed, to read and to write");
  }
  const dtype = oneOf("dtype", values.dtype ?? "int8", ["int8", "int4"]);
  const line = createProgressLine(context.stderr, "Quantising");
  try {
    const { signal } = context;
    await quantiseCheckpoint(from, to, { dtype, signal, onProgress: line.update });
  } finally {
    line.clear();
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { dtype: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
  } catch (cause) {
    throw new UsageError((cause as Error).message);
  }
}
