/** The public surface of nvium. */
export type { DType } from "./checkpoint/plan.js";
export { type CudaDevice, type Devices, getDevices } from "./devices.js";
export { type ErrorCode, type ErrorDetails, NviumError } from "./errors.js";
export type { EvaluateOptions, EvaluateResult } from "./evaluate.js";
export type { Chunk, GenerateOptions, GenerateResult, Generation } from "./generate.js";
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
