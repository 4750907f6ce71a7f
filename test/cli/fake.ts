import { Readable } from "node:stream";
import { run } from "../../lib/cli/run.js";
import { type Context, INTERRUPTED, type LoadModel } from "../../lib/cli/types.js";
import type { GenerateOptions, GenerateResult, LoadOptions, ModelInfo } from "../../lib/index.js";

export const info: ModelInfo = {
  layers: 8,
  exits: [2, 4, 6, 8],
  vocabSize: 4096,
  hiddenSize: 192,
  contextLength: 1024,
  parameters: 4_479_366,
  dtype: "bf16",
  cacheType: "bf16",
  device: "cpu",
  deviceReason: "no CUDA device",
  instructionSet: "portable",
  threads: 2,
  eosTokens: [1],
  memory: {
    weights: 9_000_000,
    embedding: 1_000_000,
    integers: 0,
    cache: 0,
    boundary: 0,
    workspace: 0,
    used: 0,
    cached: 0,
    limit: 1_000_000,
  },
  waiting: 0,
};

/** What it cost, as the fake engine says. */
export const stats: GenerateResult["stats"] = {
  tokens: 3,
  exits: [1, 1, 1, 0],
  layerPasses: 15,
  promptPasses: 0,
  weightBytes: 6_000_000,
  rowsRun: 18,
  rowsNeverRun: 6,
  cachedTokens: 0,
  discarded: { tokens: 0, layerPasses: 0, weightBytes: 0, rowsRun: 0 },
};

export interface World {
  /** What the fake model says, one token each. */
  readonly words?: readonly string[];
  readonly stdin?: string;
  /** Standard streams are terminals of this width. */
  readonly columns?: number;
  readonly env?: Record<string, string>;
  /** Loading fails with it. */
  readonly loadError?: Error;
  /** The fake model fails with it after its last word. */
  readonly generateError?: Error;
  /** Ctrl-C comes after this many words. */
  readonly interruptAfter?: number;
}

export interface Visit {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly loads: readonly { directory: string; options: LoadOptions }[];
  readonly prompts: readonly { prompt: unknown; options: GenerateOptions }[];
  readonly disposed: number;
}

/** Runs a command line with a model that leaves at exit 1, 2, 3, 4, 1 … and says how it went. */
export async function visit(args: readonly string[], world: World = {}): Promise<Visit> {
  const { words = [" there", " was", " a"], columns, loadError, generateError } = world;
  const controller = new AbortController();
  const loads: { directory: string; options: LoadOptions }[] = [];
  const prompts: { prompt: unknown; options: GenerateOptions }[] = [];
  let disposed = 0;

  const loadModel: LoadModel = async (directory, options = {}) => {
    loads.push({ directory, options });
    options.onProgress?.({ loadedBytes: 1, totalBytes: 2 });
    if (loadError !== undefined) throw loadError;
    return {
      info,
      generate(prompt, generateOptions = {}) {
        prompts.push({ prompt, options: generateOptions });
        const result = async (): Promise<GenerateResult> => ({
          text: words.join(""),
          tokens: words.map((_, i) => 100 + i),
          exits: words.map((_, i) => (i % 4) + 1),
          promptTokens: [0],
          finishReason: "length",
          seed: BigInt(generateOptions.seed ?? 0),
          stats,
        });
        return {
          async *[Symbol.asyncIterator]() {
            for (const [i, text] of words.entries()) {
              if (i === world.interruptAfter) controller.abort(INTERRUPTED);
              generateOptions.signal?.throwIfAborted();
              yield { text, tokens: [100 + i], exits: [(i % 4) + 1] };
            }
            if (generateError !== undefined) throw generateError;
          },
          result,
          // biome-ignore lint/suspicious/noThenProperty: a generation is awaited
          then: (resolved, rejected) => result().then(resolved, rejected),
          text: async () => words.join(""),
        };
      },
      encode: async (text) => [...text].map((c) => c.charCodeAt(0)),
      evaluate: async () => {
        throw new Error("The fake model has no laws.");
      },
      dispose: async () => {
        disposed++;
      },
    };
  };

  const written = { stdout: "", stderr: "" };
  const output = (name: keyof typeof written) => ({
    write: (text: string) => {
      written[name] += text;
    },
    ...(columns !== undefined && { isTTY: true, columns }),
  });
  const context: Context = {
    stdin: Object.assign(Readable.from(world.stdin ? [world.stdin] : []), {
      isTTY: world.stdin === undefined,
    }),
    stdout: output("stdout"),
    stderr: output("stderr"),
    env: world.env ?? {},
    signal: controller.signal,
    loadModel,
  };
  const code = await run(args, context);
  return { code, ...written, loads, prompts, disposed };
}

/** Text as a terminal would show it. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}
