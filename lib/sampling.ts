/** How a step decides where to leave and what to draw, checked and put into the native side's form. */
import { flag, integer, invalid, type OptionNames, UNBOUNDED } from "./checks.js";
import type { NativeLaw } from "./native.js";

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

export const SAMPLING_OPTIONS: OptionNames<SamplingOptions> = {
  temperature: true,
  topK: true,
  greedy: true,
  routerTemperature: true,
  router: true,
};

/** The law that the options name, as the native side takes it. */
export function checkLaw(options: SamplingOptions, vocabSize: number): NativeLaw {
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
  return { temperature, topK: topK >= vocabSize ? 0 : topK, routerTemperature };
}

function checkTemperature(name: string, value: number | undefined, greedy: boolean): number {
  if (value === undefined) return greedy ? 0 : 1;
  if (typeof value !== "number" || !(value === 0 || (value >= 1e-6 && value <= 1e6))) {
    throw invalid(name, "0 or a number from 1e-6 to 1e6", value);
  }
  if (greedy && value !== 0) throw invalid(name, "0 or absent where greedy is asked for", value);
  return value;
}
