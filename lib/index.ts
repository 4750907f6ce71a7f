/** The public surface of nvium. */
export type { DType } from "./checkpoint/plan.js";
export type { Chunk, ContinueOptions, GenerateResult } from "./continuation.js";
export { demo } from "./demo.js";
export { type CudaDevice, type Devices, getDevices } from "./devices.js";
export { type ErrorCode, type ErrorDetails, NviumError } from "./errors.js";
export type { EvaluateOptions, EvaluateResult, ManyLaws } from "./evaluate.js";
export type { GenerateOptions, Prompt } from "./generate.js";
export type { GenerateManyOptions, ManyResult } from "./generate-many.js";
export type { Generation } from "./generation.js";
export type { Many } from "./many.js";
export {
  type LoadOptions,
  type LoadProgress,
  loadModel,
  type Model,
  type ModelInfo,
  type ModelMemory,
} from "./model.js";
export type { SamplingOptions } from "./sampling.js";
export type {
  DecodeOptions,
  Session,
  SessionOptions,
  Step,
  StepOptions,
} from "./session.js";
export type { Stats } from "./stats.js";
export type { ChatMessage, ChatOptions } from "./text/chat.js";
export type { TextOptions } from "./text/load.js";
export type { TextStream, TextStreamOptions } from "./text/stream.js";
export type { EncodeOptions, Tokenizer } from "./text/tokenizer.js";
