import { readFile } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { parseArgs } from "node:util";
import { compare as compareModels, type Difference } from "../compare.js";
import { oneOf, wholeNumber } from "./options.js";
import { createProgressLine, printable } from "./terminal.js";
import { type Context, type Model, UsageError } from "./types.js";

export const compareHelp = `Usage: nvium compare [options] <dir>

Tells how far a checkpoint, quantised, is from itself as it is stored: the
divergence of the mixtures, the perplexity of both, and for each exit how many
tokens leave there and how often the likeliest token is the same.

Options:
      --dtype <stored|int8|int4>   what to quantise matrices to (default: int8,
                              but stored with --cache-type)
      --cache-type <stored|int8>   what to keep keys and values as
                              (default: stored)
      --with <dir>            compare with this checkpoint instead
  -f, --file <path>           the text (default: texts the stored model writes)
      --window <n>            tokens of a piece of the text (default: 256)
      --windows <n>           pieces at the most (default: 32)
      --threads <n>           threads on the CPU (default: one a core)
      --json                  one JSON object on standard output
  -h, --help                  show this
`;

const DTYPES = ["stored", "int8", "int4"] as const;
const CACHE_TYPES = ["stored", "int8"] as const;

interface Settings {
  readonly directory: string;
  readonly dtype: (typeof DTYPES)[number];
  readonly cacheType: (typeof CACHE_TYPES)[number];
  readonly other: string | undefined;
  readonly file: string | undefined;
  readonly window: number;
  readonly windows: number;
  readonly threads: number | undefined;
  readonly json: boolean;
}

/** The command `nvium compare`. */
export async function compare(args: readonly string[], context: Context): Promise<void> {
  const settings = parseCompare(args);
  if (settings === null) {
    context.stdout.write(compareHelp);
    return;
  }
  const { directory, dtype, cacheType, other, threads } = settings;
  const name = other ?? (cacheType === "stored" ? dtype : `${dtype}, ${cacheType} cache`);
  const { signal, stderr } = context;
  const load = { device: "cpu", signal, ...(threads !== undefined && { threads }) } as const;
  const stored = await context.loadModel(directory, load);
  try {
    const quantised = await (other === undefined
      ? context.loadModel(directory, { ...load, dtype, cacheType })
      : context.loadModel(other, { ...load, cacheType }));
    try {
      const texts = await findTexts(stored, settings, signal);
      const total = texts.reduce((sum, text) => sum + text.length - 1, 0);
      const line = createProgressLine(stderr, "Comparing");
      try {
        const difference = await compareModels(stored, quantised, texts, {
          signal,
          onProgress: (tokens) => line.update(tokens, total),
        });
        line.clear();
        context.stdout.write(
          settings.json
            ? `${JSON.stringify({ model: directory, with: name, ...difference })}\n`
            : formatDifference(difference, printable(basename(name))),
        );
      } finally {
        line.clear();
      }
    } finally {
      await quantised.dispose();
    }
  } finally {
    await stored.dispose();
  }
}

function parseCompare(args: readonly string[]): Settings | null {
  const { values, positionals } = parse(args);
  if (values.help) return null;
  const [directory, ...more] = positionals;
  if (directory === undefined || more.length > 0) {
    throw new UsageError("one checkpoint directory is needed");
  }
  if (values.dtype !== undefined && values.with !== undefined) {
    throw new UsageError("--dtype and --with exclude each other");
  }
  const cacheType = oneOf("cache-type", values["cache-type"] ?? "stored", CACHE_TYPES);
  const dtype = values.dtype ?? (cacheType === "stored" ? "int8" : "stored");
  return {
    directory: resolve(directory),
    dtype: oneOf("dtype", dtype, DTYPES),
    cacheType,
    other: values.with === undefined ? undefined : resolve(values.with),
    file: values.file,
    window: wholeNumber("window", values.window ?? "256", 2),
    windows: wholeNumber("windows", values.windows ?? "32", 1),
    threads: values.threads === undefined ? undefined : wholeNumber("threads", values.threads, 1),
    json: values.json ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        dtype: { type: "string" },
        "cache-type": { type: "string" },
        with: { type: "string" },
        file: { type: "string", short: "f" },
        window: { type: "string" },
        windows: { type: "string" },
        threads: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (cause) {
    throw new UsageError((cause as Error).message);
  }
}

/** Pieces of the file, or what the model writes by itself: its own law is what a divergence is a mean over. */
async function findTexts(
  model: Model,
  { file, window, windows }: Settings,
  signal: AbortSignal,
): Promise<number[][]> {
  const length = Math.min(window, model.info.contextLength);
  if (file === undefined) return writeTexts(model, length, windows, signal);
  const tokens = await model.encode(await readFile(file, "utf8"));
  const texts: number[][] = [];
  for (let at = 0; at < tokens.length && texts.length < windows; at += length) {
    texts.push([...tokens.slice(at, at + length)]);
  }
  const whole = texts.filter((text) => text.length > 1);
  if (whole.length === 0) throw new UsageError("the text has fewer than two tokens");
  return whole;
}

async function writeTexts(model: Model, length: number, count: number, signal: AbortSignal) {
  const texts: number[][] = [];
  for (let seed = 1; seed <= count; seed++) {
    const options = { seed, maxNewTokens: length - 1, eosTokens: [], signal };
    const { tokens, promptTokens } = await model.generate([0], options).result();
    texts.push([...promptTokens, ...tokens]);
  }
  return texts;
}

function formatDifference(d: Difference, name: string): string {
  const percent = (share: number) => `${(100 * share).toFixed(2)} %`;
  const change = d.perplexity[1] / d.perplexity[0] - 1;
  const lines = [
    `${d.tokens} positions, stored and ${name}`,
    `  KL of the mixtures    ${d.divergence.toExponential(2)} nats`,
    `  same likeliest token  ${percent(d.agreement)}`,
    `  perplexity            ${d.perplexity.map((p) => p.toFixed(4)).join(" and ")} (${change < 0 ? "" : "+"}${percent(change)})`,
    ...d.exits.map(
      (e, k) =>
        `  exit ${k + 1}                KL ${e.divergence.toExponential(2)}, same likeliest token ${percent(e.agreement)}, leave here ${e.share.map(percent).join(" and ")}`,
    ),
  ];
  return `${lines.join("\n")}\n`;
}
