/** What passes between the JavaScript thread and a tokenizer's own (host.ts, thread.ts). */
import type { ErrorCode, ErrorDetails } from "../errors.js";
import type { EncoderInfo } from "./encoder.js";

export interface ToThread {
  readonly id: number;
  readonly text: string;
  readonly addSpecialTokens: boolean;
}

export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
  /** The message of what caused it. */
  readonly cause: string | undefined;
}

export type FromThread =
  | { readonly info: EncoderInfo }
  /** It could not be opened. */
  | { readonly failure: Failure; readonly id?: undefined }
  | { readonly id: number; readonly tokens: Uint32Array<ArrayBuffer> }
  | { readonly id: number; readonly failure: Failure };
