/** What a model can run on here. */
import { messageOf } from "./errors.js";
import { native, typed } from "./native.js";

export interface CudaDevice {
  /** What `device` of `loadModel` calls it: "cuda:0" and on, as CUDA counts. */
  readonly device: `cuda:${number}`;
  /** Compute capability 8.0 or more. "cuda" and "auto" mean the first such device. */
  readonly usable: boolean;
  readonly name: string;
  /** Bytes. */
  readonly memory: number;
  /** Such as "9.0". */
  readonly computeCapability: string;
}

export interface Devices {
  readonly cpu: {
    /** False where the native addon could not be loaded. */
    readonly available: boolean;
    readonly reason: string;
    /** What `instructionSet` of `loadModel` may be, the fastest first. */
    readonly instructionSets: readonly string[];
  };
  readonly cuda: {
    /** This build has a CUDA backend. */
    readonly compiled: boolean;
    /** And there is a device for it: `device: "auto"` takes it. */
    readonly available: boolean;
    /** Why, or why not. */
    readonly reason: string;
    readonly devices: readonly CudaDevice[];
  };
}

/** Whether `device` of `loadModel` may be this. */
export function isDeviceName(name: unknown): name is "auto" | "cpu" | "cuda" | `cuda:${number}` {
  return typeof name === "string" && /^(auto|cpu|cuda(:(0|[1-9]\d{0,3}))?)$/.test(name);
}

/** Looks at the machine. Never throws and prints nothing; `reason` says what is wrong. */
export function getDevices(): Devices {
  try {
    const addon = native();
    const cuda = typed(() => addon.cuda());
    const instructionSets = typed(() => addon.instructionSets());
    return { cpu: { available: true, reason: "The CPU is always there.", instructionSets }, cuda };
  } catch (error) {
    const reason = messageOf(error);
    return {
      cpu: { available: false, reason, instructionSets: [] },
      cuda: { compiled: false, available: false, reason, devices: [] },
    };
  }
}
