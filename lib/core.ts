/** What sessions and evaluations need of their model. */
import type { ModelPlan } from "./checkpoint/plan.js";
import type { NativeModel } from "./native.js";
import type { Scheduler } from "./scheduler.js";
import type { CheckpointText } from "./text/load.js";

export interface ModelCore {
  readonly native: NativeModel;
  readonly plan: ModelPlan;
  /** N: exits, the last layer's included. */
  readonly segments: number;
  readonly scheduler: Scheduler;
  readonly text: CheckpointText;
  readonly disposed: boolean;
}
