/** The whole native seam: every type that crosses it. Nothing else in lib/ knows the addon, but `binding.ts`, which loads it. */
import { loadBinding } from "./binding.js";
import type { ModelPlan } from "./checkpoint/plan.js";
import { NviumError } from "./errors.js";

/** Shared words a load watches: `abort[0] !== 0` stops it between chunks of work. */
export interface NativeControl {
  readonly abort: Int32Array<ArrayBuffer>;
  /** Bytes read so far. */
  readonly progress?: Float64Array<ArrayBuffer>;
}

export interface NativeLoadOptions {
  /** "auto" is CUDA where a device can be opened. The other options are of the CPU. */
  readonly device: "auto" | "cpu" | "cuda" | `cuda:${number}`;
  /** 0: one for each processor the process may use, no more than its control group's quota feeds. */
  readonly threads: number;
  /** Keep each thread to a processor of its own. */
  readonly place: boolean;
  /** Empty: the fastest there is. */
  readonly instructionSet: string;
}

/** Blocks by position: entry b holds [64 b, 64 b + 64); -1 is none. `spare` is where a shared block is copied before it is written. */
export interface NativeBlockTable {
  readonly block: Int32Array;
  readonly spare: Int32Array;
}

/** A sequence as a call sees it; see native/model/sequence.h. */
export interface NativeSequence {
  readonly length: number;
  /** Tokens of the last positions, all from f_1 on. */
  readonly tokens: Uint32Array;
  /** 1 for positions that were generated, of the last positions, all from f_N on. */
  readonly generated: Uint8Array;
  readonly frontiers: Uint32Array;
  readonly cache: NativeBlockTable;
  /** Blocks of `cache` that were free before: they are zeroed. */
  readonly fresh: Uint32Array;
  /** One a boundary, N - 1. */
  readonly boundary: readonly NativeBlockTable[];
  readonly seed: bigint;
  readonly stream: number;
}

/** How a position decides where its token leaves and which one it is; see native/model/request.h. */
export interface NativeLaw {
  readonly temperature: number;
  /** 0: all. */
  readonly topK: number;
  readonly routerTemperature: number;
}

/** What a call is asked to do for one sequence. */
export interface NativeRequest extends NativeSequence {
  readonly law: NativeLaw;
  /** 0xffffffff: no bound. */
  readonly maxPending: number;
  /** -1: none. */
  readonly force: number;
  /** Tokens at the most, for all of which blocks are reserved; 0: every segment up to the last token but one. */
  readonly count: number;
  /** Tokens the sequence may hold. */
  readonly capacity: number;
  readonly stopTokens: Uint32Array;
  /** Stops this request alone, between passes, once it is not 0. */
  readonly abort: Int32Array<ArrayBuffer>;
  /** As the call before left it; 1 at first. */
  readonly remaining: number;
}

export interface NativeCall {
  readonly requests: readonly NativeRequest[];
  /** The numbers of each pool's blocks are below it. Those that the sequences name are made. */
  readonly cacheBlocks: number;
  readonly boundaryBlocks: number;
  /** Rows of prompts a step takes through the model beside rows that decode. */
  readonly promptRows: number;
  /** No step begins after this many milliseconds. */
  readonly budget: number;
}

/** Why a request goes no further in its call. "none": the call failed before it began. */
export type NativeStop =
  | "none"
  | "count"
  | "token"
  | "capacity"
  | "deadline"
  | "aborted"
  | "failed";

/** Numbers a step in `NativeOutcome.steps`: token, drawn, exit, layersRun, pending, layerPasses, layerRows, weightBytes. */
export const STEP_FIELDS = 8;

export interface NativeFailure {
  readonly aborted: boolean;
  readonly code: string;
  readonly message: string;
  readonly details: Readonly<Record<string, string | number>>;
}

/** What was computed for a sequence: its share of what its passes read, and its own rows. */
export interface NativeWork {
  readonly layerPasses: number;
  readonly layerRows: number;
  readonly weightBytes: number;
}

/** What became of a request, however it ended: the frontiers and steps that stand. */
export interface NativeOutcome {
  readonly stop: NativeStop;
  readonly frontiers: Uint32Array;
  readonly remaining: number;
  /** STEP_FIELDS numbers a step. */
  readonly steps: Float64Array;
  /** Since the last step. */
  readonly work: NativeWork;
  /** What this request alone failed by. */
  readonly error: NativeFailure | null;
}

export interface NativeResult {
  /** One a request. */
  readonly requests: readonly NativeOutcome[];
  /** What no single request is to blame for. */
  readonly error: NativeFailure | null;
}

export interface NativeEvaluateCall extends NativeCall {
  /** [T, N] */
  readonly exitProbs: Float32Array<ArrayBuffer>;
  /** [N, T, V] */
  readonly exitLogits: Float32Array<ArrayBuffer> | null;
  /** [T, V] */
  readonly mixtureLogProbs: Float32Array<ArrayBuffer> | null;
}

/** A plan, and what the matrices of layers, adapters and heads are quantised to while they are read, if to anything. */
export interface NativePlan extends Omit<ModelPlan, "cacheType"> {
  readonly matrices?: "int8" | "int4";
  readonly cacheType: CacheType;
}

/** What keys and values are kept as. */
export type CacheType = "bf16" | "f32" | "int8";

/** Bytes of a block of each pool. */
export interface NativeBlockBytes {
  readonly cache: number;
  readonly boundary: number;
}

export interface NativeMemory {
  readonly weights: number;
  /** Of weights: the table of embeddings. */
  readonly embedding: number;
  /** Of weights: matrices of integers. */
  readonly integers: number;
  readonly cache: number;
  readonly boundary: number;
  readonly workspace: number;
}

export interface NativeModel {
  readonly device: "cpu" | "cuda";
  readonly deviceReason: string;
  readonly instructionSet: string;
  readonly threads: number;
  memory(): NativeMemory;
  blockBytes(): NativeBlockBytes;
  /** One call at a time, on a thread of the model's own; a second waits for the first. */
  run(call: NativeCall): Promise<NativeResult>;
  runSync(call: NativeCall): NativeResult;
  /** Fills the arrays of the call, for its one request. */
  evaluate(call: NativeEvaluateCall): Promise<NativeResult>;
  /**
   * Gives back memory without used blocks: `used[b]` is 0 where block b is free, as all are behind its end; and of a rotary
   * table much longer than `positions`. Does nothing where a call was asked for since.
   */
  trim(
    cache: Uint8Array<ArrayBuffer>,
    boundary: Uint8Array<ArrayBuffer>,
    positions: number,
  ): Promise<void>;
  /** A block's bytes, for tests of equality. */
  readBlock(pool: "cache" | "boundary", block: number): Uint8Array;
  /** Frees everything at once, or when the job in flight ends. */
  dispose(): void;
}

export interface NativeCudaState {
  /** This build has a CUDA backend. */
  readonly compiled: boolean;
  /** And there is a device for it. */
  readonly available: boolean;
  readonly reason: string;
  readonly devices: readonly {
    readonly device: `cuda:${number}`;
    readonly usable: boolean;
    readonly name: string;
    readonly memory: number;
    readonly computeCapability: string;
  }[];
}

export interface NativeBinding {
  /** Rejects with a `NativeFailure`. */
  loadModel(
    plan: NativePlan,
    options: NativeLoadOptions,
    control: NativeControl,
  ): Promise<NativeModel>;
  /** Rows of floats as a file holds them, which are changed, to integers and bf16 scales as a file holds those; null where one is not finite. */
  quantise(rows: {
    readonly from: "bf16" | "f16" | "f32";
    readonly to: "int8" | "int4";
    readonly rows: number;
    readonly cols: number;
    readonly stored: Uint8Array;
  }): { readonly integers: Uint8Array; readonly scales: Uint16Array } | null;
  /** Bytes `control.progress` counts up to. */
  storedBytes(plan: NativePlan): number;
  /** Names of the instruction sets usable on this machine, fastest first. */
  instructionSets(): string[];
  cuda(): NativeCudaState;
}

let binding: NativeBinding | undefined;

/** The addon, loaded when first asked for. Throws `ERR_NVIUM_BINDING` with what was tried and what to do. */
export function native(): NativeBinding {
  binding ??= loadBinding() as NativeBinding;
  return binding;
}

/** Makes a native call, and our errors of what it throws or rejects with. */
export function typed<T>(call: () => T, signal?: AbortSignal): T {
  const fail = (thrown: unknown) => {
    throw fromNative(thrown, signal);
  };
  try {
    const result = call();
    // A promise may be of another realm than this module.
    return isPromise(result) ? (Promise.resolve(result).catch(fail) as T) : result;
  } catch (thrown) {
    return fail(thrown);
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === "function";
}

/** The class of errors from what the native side reports; an abort becomes the signal's own reason. */
export function fromNative(thrown: unknown, signal?: AbortSignal): unknown {
  if (!isFailure(thrown)) return thrown;
  if (thrown.aborted) {
    if (signal !== undefined) return signal.reason;
    return new NviumError("ERR_NVIUM_INTERNAL", "Aborted without a signal.");
  }
  return new NviumError(thrown.code as NviumError["code"], thrown.message, thrown.details);
}

function isFailure(thrown: unknown): thrown is NativeFailure {
  return typeof thrown === "object" && thrown !== null && "aborted" in thrown && "code" in thrown;
}
