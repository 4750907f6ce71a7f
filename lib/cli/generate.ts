import { randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import type { GenerateResult } from "../continuation.js";
import { generateHelp, parseGenerate, type Settings } from "./generate-args.js";
import { createProgressLine, printable } from "./terminal.js";
import { type Context, INTERRUPTED, type Model } from "./types.js";
import { jsonView, textView, type View } from "./view.js";

export const DEFAULT_PROMPT = "Once upon a time";

/** The command `nvium generate`. Rejects with the signal's reason if it is interrupted, after showing what there is. */
export async function generate(args: readonly string[], context: Context): Promise<void> {
  const settings = parseGenerate(args);
  if (settings.help) {
    context.stdout.write(generateHelp);
    return;
  }
  const prompt = await findPrompt(settings, context);
  const started = performance.now();
  const model = await load(settings, context);
  try {
    const loadSeconds = (performance.now() - started) / 1000;
    const createView = settings.json ? jsonView : textView;
    const view = createView(settings, context, model.info, prompt, loadSeconds);
    await tell(model, prompt, settings, context.signal, view);
  } finally {
    await model.dispose();
  }
  context.signal.throwIfAborted();
}

async function findPrompt(settings: Settings, { stdin, signal }: Context): Promise<string> {
  if (settings.prompt !== undefined) return settings.prompt;
  if (settings.file !== undefined) return withoutLineEnd(await readFile(settings.file, "utf8"));
  if (!settings.stdin || stdin.isTTY) return DEFAULT_PROMPT;

  const stop = () => stdin.destroy(signal.reason);
  signal.addEventListener("abort", stop);
  const parts: Buffer[] = [];
  for await (const part of stdin) parts.push(Buffer.from(part as string));
  signal.removeEventListener("abort", stop);
  // What runs without a terminal often has an empty input that nobody meant as a prompt.
  return withoutLineEnd(Buffer.concat(parts).toString("utf8")) || DEFAULT_PROMPT;
}

function withoutLineEnd(text: string): string {
  return text.replace(/\r?\n$/, "");
}

async function load(settings: Settings, { loadModel, stderr, signal }: Context): Promise<Model> {
  const progress = createProgressLine(stderr, `Loading ${printable(basename(settings.model))}`);
  try {
    return await loadModel(settings.model, {
      ...settings.load,
      signal,
      onProgress: ({ loadedBytes, totalBytes }) => progress.update(loadedBytes, totalBytes),
    });
  } finally {
    progress.clear();
  }
}

async function tell(
  model: Model,
  prompt: string,
  { options }: Settings,
  signal: AbortSignal,
  view: View,
): Promise<void> {
  const { info } = model;
  const exits: number[] = info.exits.map(() => 0);
  // Short enough to type, and known even if the run is interrupted.
  const seed = options.seed === undefined ? BigInt(randomInt(2 ** 32)) : BigInt(options.seed);
  const started = performance.now();
  let result: GenerateResult | undefined;
  try {
    const generation = model.generate(prompt, { ...options, seed, signal });
    for await (const chunk of generation) {
      for (const exit of chunk.exits) exits[exit - 1] = (exits[exit - 1] ?? 0) + 1;
      view.chunk(chunk.text, chunk.tokens, chunk.exits);
    }
    result = await generation.result();
  } catch (error) {
    if (signal.reason !== INTERRUPTED) throw error;
  } finally {
    view.close();
  }
  const seconds = (performance.now() - started) / 1000;
  view.summary({ info, exits, seconds, seed, ...(result && { result }) });
}
