import type { GenerateResult } from "../continuation.js";
import type { ModelInfo } from "../model.js";
import { type Painter, perExit } from "./terminal.js";

/** What came of a generation, finished or not. */
export interface Outcome {
  readonly info: ModelInfo;
  /** Tokens that left at each exit. */
  readonly exits: readonly number[];
  readonly seconds: number;
  readonly seed: bigint;
  /** Missing if it was interrupted. */
  readonly result?: GenerateResult;
}

const NAME_WIDTH = "rows never run".length + 2;

const REASONS: Readonly<Record<GenerateResult["finishReason"], string>> = {
  eos: "the model ended the text",
  stop: "a stop string was reached",
  length: "the length asked for was reached",
  context: "the context is full",
  time: "the time was over",
  left: "ended early",
};

function reasonOf({ finishReason }: GenerateResult, tokens: number): string {
  const full = finishReason === "context" && tokens === 0;
  return full ? "the prompt fills the context" : REASONS[finishReason];
}

/** A few lines for a person to read. */
export function formatSummary(outcome: Outcome, painter: Painter, columns: number): string {
  const { info, exits, seconds, seed, result } = outcome;
  const tokens = exits.reduce((sum, count) => sum + count, 0);
  const reason = result === undefined ? "interrupted" : reasonOf(result, tokens);
  const lines: [string, string][] = [
    [
      "model",
      `${large(info.parameters)} parameters, ${info.dtype}, on ${info.device} (${info.instructionSet}, ${threads(info.threads)})`,
    ],
    [
      "tokens",
      `${whole(tokens)} in ${seconds.toFixed(2)} s, ${rate(tokens, seconds)} tokens/s; ${reason}`,
    ],
  ];
  if (tokens > 0) {
    const shares = exits.map((count, i) => {
      const name = i === exits.length - 1 ? "all layers" : `exit ${i + 1}`;
      return `${name} ${percent(count, tokens)}`;
    });
    const width = columns - NAME_WIDTH;
    lines.push(["left at", perExit(shares, painter, width).join(`\n${" ".repeat(NAME_WIDTH)}`)]);
  }
  if (result !== undefined) {
    const { layerPasses, promptPasses, weightBytes, rowsRun, rowsNeverRun } = result.stats;
    if (tokens > 0) {
      const passes = ((layerPasses - promptPasses) / tokens).toFixed(2);
      lines.push(
        ["weight passes", `${passes} layers a token, of ${info.layers}`],
        ["bytes read", `${bytes(weightBytes / tokens)} of weights a token`],
      );
    }
    const rows = rowsRun + rowsNeverRun;
    lines.push(
      ["rows run", `${whole(rowsRun)} (a row is one token in one layer)`],
      ["rows never run", `${whole(rowsNeverRun)} (${percent(rowsNeverRun, rows)})`],
    );
  }
  const thrown = result?.stats.discarded.tokens ?? 0;
  if (thrown > 0) lines.push(["thrown away", `${whole(thrown)} drawn ahead, beside all this`]);
  lines.push(["seed", String(seed)]);
  return lines.map(([name, value]) => `${name.padEnd(NAME_WIDTH)}${value}\n`).join("");
}

/** The same as an event; it leaves out what an interrupted generation does not know. */
export function summaryEvent({ exits, seconds, seed, result }: Outcome): Record<string, unknown> {
  const tokens = exits.reduce((sum, count) => sum + count, 0);
  return {
    type: "summary",
    finishReason: result?.finishReason ?? "interrupted",
    tokens,
    exits,
    seconds,
    ...(result && {
      layerPasses: result.stats.layerPasses,
      weightBytes: result.stats.weightBytes,
      rowsRun: result.stats.rowsRun,
      rowsNeverRun: result.stats.rowsNeverRun,
      discarded: result.stats.discarded,
    }),
    // It may be larger than a JSON number holds exactly.
    seed: String(seed),
  };
}

function threads(count: number): string {
  return count === 1 ? "1 thread" : `${count} threads`;
}

function whole(count: number): string {
  return count.toLocaleString("en-US");
}

function percent(part: number, total: number): string {
  return `${(total > 0 ? (100 * part) / total : 0).toFixed(1)}%`;
}

function rate(tokens: number, seconds: number): string {
  const perSecond = seconds > 0 ? tokens / seconds : 0;
  return perSecond.toFixed(perSecond < 10 ? 1 : 0);
}

function bytes(count: number): string {
  return `${large(count)}B`.replace(/(?<=\d)B/, " B");
}

/** Three digits and a letter: 4.48 M. */
function large(count: number): string {
  const units = ["", " k", " M", " G", " T"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toPrecision(3)}${units[unit]}`;
}
