/** The command line of `nvium generate`. */

import { parseArgs } from "node:util";
import { directoryPath } from "../checkpoint/directory.js";
import { UNBOUNDED } from "../checks.js";
import { demo } from "../demo.js";
import type { GenerateOptions } from "../generate.js";
import type { LoadOptions } from "../model.js";
import { checkLaw } from "../sampling.js";
import { countOrUnbounded, deviceName, oneOf, realNumber, seed64, wholeNumber } from "./options.js";
import { UsageError } from "./types.js";

const DTYPES = ["stored", "int8", "int4"] as const;
const ROUTERS = ["sample", "greedy"] as const;

export const generateHelp = `Usage: nvium generate [options] [prompt]

Continues a text. The prompt is the argument, the --file, or standard input
where that is not a terminal; without one the demo tells a story. A line end
that closes a file or standard input is not part of the prompt.

Options:
  -m, --model <dir>           directory of the checkpoint (default: the demo)
  -f, --file <path>           read the prompt from a file
      --no-stdin              never read the prompt from standard input
  -n, --max-new-tokens <n>    tokens to generate at most (default: 200)
      --seed <n>              0 to 2^64 - 1; the same seed gives the same text
                              (default: random below 2^32, shown at the end)
      --stop <text>           end before this text; may be given several times

Drawing (without these, tokens are drawn from the model's exact mixture):
  -t, --temperature <t>       of the token inside the exit reached (default: 1)
      --top-k <k>             only the k likeliest tokens there (default: all)
      --greedy                the likeliest token of the exit reached, not of
                              the mixture; the same as --temperature 0
      --router <sample|greedy>   how exits are chosen (default: sample)
      --router-temperature <t>   of the exits; 0 is greedy (default: 1)

Running:
      --device <name>         auto, cpu, cuda, or cuda:1 for the second GPU
                              (default: auto)
      --dtype <stored|int8|int4>   quantise the matrices while they are read
                              (default: stored)
      --threads <n>           threads on the CPU (default: one a core)
      --max-pending <n>       rows that may wait for the upper layers, or
                              "unbounded"; changes no token (default: 15)

Output:
      --json                  one JSON object a line on standard output:
                                {"type":"load","model","seconds","info"}
                                {"type":"chunk","text","tokens","exits"}
                                {"type":"error","code","message"}
                                {"type":"summary","finishReason","tokens",
                                 "exits" (tokens left at each),"seconds",
                                 "layerPasses","weightBytes","rowsRun",
                                 "rowsNeverRun","seed" (a string),
                                 "discarded" (drawn ahead, not told)}
      --no-echo               do not repeat the prompt
      --no-color              no tint; NO_COLOR and FORCE_COLOR are heeded too
      --no-summary            no legend and no summary
  -h, --help                  show this

The text goes to standard output, the summary to standard error.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
`;

/** The command line, understood. */
export interface Settings {
  readonly model: string;
  /** From the argument; undefined if it is to be found elsewhere. */
  readonly prompt: string | undefined;
  readonly file: string | undefined;
  readonly stdin: boolean;
  readonly load: Pick<LoadOptions, "device" | "dtype" | "threads">;
  readonly options: GenerateOptions;
  readonly json: boolean;
  readonly echo: boolean;
  readonly color: boolean;
  readonly summary: boolean;
  readonly help: boolean;
}

export const OPTIONS = {
  model: { type: "string", short: "m" },
  file: { type: "string", short: "f" },
  "no-stdin": { type: "boolean" },
  "max-new-tokens": { type: "string", short: "n" },
  seed: { type: "string" },
  stop: { type: "string", multiple: true },
  temperature: { type: "string", short: "t" },
  "top-k": { type: "string" },
  greedy: { type: "boolean" },
  router: { type: "string" },
  "router-temperature": { type: "string" },
  device: { type: "string" },
  dtype: { type: "string" },
  threads: { type: "string" },
  "max-pending": { type: "string" },
  json: { type: "boolean" },
  "no-echo": { type: "boolean" },
  "no-color": { type: "boolean" },
  "no-summary": { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** Options that take a text and are given once. */
type Named = {
  [K in keyof typeof OPTIONS]: (typeof OPTIONS)[K] extends { type: "string"; multiple?: never }
    ? K
    : never;
}[keyof typeof OPTIONS];

/** Leaves out what is undefined: the engine has defaults of its own. */
function defined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** Reads the command line; throws UsageError where it is wrong. */
export function parseGenerate(args: readonly string[]): Settings {
  const { values, positionals } = parse(args);
  const [prompt] = positionals;
  const read = <T>(name: Named, parseText: (name: string, text: string) => T): T | undefined => {
    const text = values[name];
    return text === undefined ? undefined : parseText(name, text);
  };
  const atLeast = (least: number) => (name: string, text: string) => wholeNumber(name, text, least);

  if (positionals.length > 1) throw new UsageError("more than one prompt; quote it");
  if (prompt !== undefined && values.file !== undefined) {
    throw new UsageError("a prompt and --file exclude each other");
  }
  if (values.greedy && values.temperature !== undefined) {
    throw new UsageError("--greedy and --temperature exclude each other");
  }
  if (values.router === "greedy" && values["router-temperature"] !== undefined) {
    throw new UsageError("--router greedy and --router-temperature exclude each other");
  }
  if (values.stop?.includes("")) throw new UsageError("--stop must not be empty");

  const settings: Settings = {
    model: values.model === undefined ? demo : directoryPath(values.model),
    prompt,
    file: values.file,
    stdin: !values["no-stdin"],
    load: defined({
      device: read("device", deviceName),
      dtype: read("dtype", (name, text) => oneOf(name, text, DTYPES)),
      threads: read("threads", atLeast(1)),
    }),
    options: defined({
      maxNewTokens: read("max-new-tokens", atLeast(1)) ?? 200,
      seed: read("seed", seed64),
      stop: values.stop,
      temperature: read("temperature", realNumber),
      topK: read("top-k", atLeast(1)),
      greedy: values.greedy,
      router: read("router", (name, text) => oneOf(name, text, ROUTERS)),
      routerTemperature: read("router-temperature", realNumber),
      maxPending: read("max-pending", countOrUnbounded),
    }),
    json: values.json ?? false,
    echo: !values["no-echo"],
    color: !values["no-color"],
    summary: !values["no-summary"],
    help: values.help ?? false,
  };
  // The engine's own limits, before it has loaded anything.
  checkLaw(settings.options, UNBOUNDED);
  return settings;
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: OPTIONS,
    });
  } catch (cause) {
    throw new UsageError((cause as Error).message);
  }
}
