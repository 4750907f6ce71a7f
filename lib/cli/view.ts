import type { ModelInfo } from "../model.js";
import type { Settings } from "./generate-args.js";
import { formatSummary, type Outcome, summaryEvent } from "./summary.js";
import { createPainter, legend, printable, wantsColor, width } from "./terminal.js";
import type { Context } from "./types.js";
import { createWrapper } from "./wrap.js";

/** Where the text goes. */
export interface View {
  chunk(text: string, tokens: readonly number[], exits: readonly number[]): void;
  /** After the last chunk, whatever ended it. */
  close(): void;
  summary(outcome: Outcome): void;
}

export type CreateView = (
  settings: Settings,
  context: Context,
  info: ModelInfo,
  prompt: string,
  loadSeconds: number,
) => View;

/**
 * For people: the text on standard output, tinted where that has colours and with lines broken between words where it is
 * for eyes; the summary on standard error.
 */
export const textView: CreateView = (settings, { stdout, stderr, env }, info, prompt) => {
  const exits = info.exits.length;
  const color = wantsColor(stdout, env, !settings.color);
  const painter = createPainter(color, exits);
  const eyes = color || stdout.isTTY === true;
  const clean = stdout.isTTY ? printable : (text: string) => text;
  let written = "";
  const write = (text: string) => {
    if (text === "") return;
    written = text;
    stdout.write(text);
  };
  const wrapper = createWrapper(eyes ? width(stdout, env) : Number.POSITIVE_INFINITY, write);
  const put = eyes
    ? wrapper.push
    : (text: string, paint: (text: string) => string) => write(paint(text));
  if (settings.echo) put(clean(prompt), painter.faint);
  return {
    // Held-back text belongs to the token that made it certain, the chunk's last.
    chunk(text, _tokens, left) {
      put(clean(text), (part) => painter.exit(part, left.at(-1) ?? exits));
    },
    close() {
      wrapper.flush();
      if (!written.endsWith("\n")) write("\n");
    },
    summary(outcome) {
      if (!settings.summary) return;
      if (color) write(`\n${legend(info.exits, painter, width(stdout, env))}\n`);
      const summaryPainter = createPainter(wantsColor(stderr, env, !settings.color), exits);
      stderr.write(`\n${formatSummary(outcome, summaryPainter, width(stderr, env))}`);
    },
  };
};

/** For programs: one JSON object a line on standard output. */
export const jsonView: CreateView = (settings, { stdout }, info, _prompt, seconds) => {
  const write = (event: Record<string, unknown>) => stdout.write(`${toJson(event)}\n`);
  write({ type: "load", model: settings.model, seconds, info });
  return {
    chunk: (text, tokens, exits) => write({ type: "chunk", text, tokens, exits }),
    close() {},
    summary(outcome) {
      if (settings.summary) write(summaryEvent(outcome));
    },
  };
};

function toJson(event: Record<string, unknown>): string {
  return JSON.stringify(event, (_key, value: unknown) =>
    typeof value === "bigint" ? String(value) : value,
  );
}
