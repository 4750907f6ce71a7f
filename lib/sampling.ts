/** How a step decides where to leave and what to draw, checked and put into the native side's form. */
import { NviumError } from "./errors.js";
import type { NativeStepOptions } from "./native.js";

/**
 * With none of these given, a step draws from the model's mixture exactly. `temperature`, `topK`, `greedy`,
 * `routerTemperature` and `router` change the law: they act inside the component that is reached, as in the authors'
 * evaluation (SPEC §3).
 */
export interface SamplingOptions {
  /**
   * Divides the logits of the head reached. 0 takes the largest logit. Default 1, which is exact; 0, or from 1e-6 to
   * 1e6.
   */
  readonly temperature?: number;
  /** Draw among the `topK` largest logits of the head reached. Default: all tokens. At least 1. */
  readonly topK?: number;
  /** The largest logit of the head reached: the same as `temperature: 0`. The router is not concerned. Default false. */
  readonly greedy?: boolean;
  /**
   * Divides the routers' logits, on top of the model's own `router_temp`. 0 leaves at the first exit where leaving is the
   * more probable. Default 1, which is exact; 0, or from 1e-6 to 1e6.
   */
  readonly routerTemperature?: number;
  /** "greedy" is the same as `routerTemperature: 0`. The head is not concerned. Default "sample". */
  readonly router?: "sample" | "greedy";
}

/** The largest 32-bit word: as `maxPending` it stands for no bound, and `stream` and `topK` end there. */
export const UNBOUNDED = 0xffffffff;

export function nativeOptions(
  options: SamplingOptions,
  vocabSize: number,
  maxPending: number,
  force: number | undefined,
): NativeStepOptions {
  const { greedy = false, router = "sample" } = options;
  flag("greedy", greedy);
  if (router !== "sample" && router !== "greedy") {
    throw invalid("router", '"sample" or "greedy"', router);
  }
  const temperature = checkTemperature("temperature", options.temperature, greedy);
  const routerTemperature = checkTemperature(
    "routerTemperature",
    options.routerTemperature,
    router === "greedy",
  );
  const topK = options.topK === undefined ? 0 : integer("topK", options.topK, 1, UNBOUNDED);
  return {
    temperature,
    topK: topK >= vocabSize ? 0 : topK,
    routerTemperature,
    maxPending,
    force: force === undefined ? -1 : integer("force", force, 0, vocabSize - 1),
  };
}

function checkTemperature(name: string, value: number | undefined, greedy: boolean): number {
  if (value === undefined) return greedy ? 0 : 1;
  if (typeof value !== "number" || !(value === 0 || (value >= 1e-6 && value <= 1e6))) {
    throw invalid(name, "0 or a number from 1e-6 to 1e6", value);
  }
  if (greedy && value !== 0) throw invalid(name, "0 or absent where greedy is asked for", value);
  return value;
}

/** A whole number in [least, most], or an ERR_NVIUM_INVALID_ARG that says so. */
export function integer(name: string, value: unknown, least: number, most: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) {
    return value;
  }
  throw invalid(name, `a whole number from ${least} to ${most}`, value);
}

/** A boolean, or an ERR_NVIUM_INVALID_ARG that says so. */
export function flag(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw invalid(name, "a boolean", value);
}

/** The options of a call, or an ERR_NVIUM_INVALID_ARG where they are no object. */
export function checkOptions<T extends object>(options: T): T {
  if (typeof options === "object" && options !== null) return options;
  throw invalid("options", "an object", options);
}

/** Something to take token ids from, or an ERR_NVIUM_INVALID_ARG. The ids are not looked at. */
export function checkIterable(name: string, tokens: Iterable<number>): Iterable<number> {
  if (typeof tokens === "object" && tokens !== null && Symbol.iterator in tokens) return tokens;
  throw invalid(name, "an iterable of token ids", tokens);
}

/** An ERR_NVIUM_INVALID_ARG that names the argument, what was expected and what was given. */
export function invalid(argument: string, expected: string, actual: unknown): NviumError {
  const given = shown(actual);
  return new NviumError("ERR_NVIUM_INVALID_ARG", `${argument} must be ${expected}, not ${given}.`, {
    argument,
    expected,
    actual,
  });
}

/** A value in a message. Whatever it is, showing it does not fail. */
function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  try {
    return String(value);
  } catch {
    return "an object that has no text";
  }
}
