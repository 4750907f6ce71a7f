/** What went wrong, as a stable string a program can switch on. */
export type ErrorCode =
  /** The native addon could not be loaded. `details.target`, and `.tried`: the file or folder. */
  | "ERR_NVIUM_BINDING"
  /** An argument has the wrong type or lies outside its range. `details.argument`. */
  | "ERR_NVIUM_INVALID_ARG"
  /** A checkpoint is missing something, contradicts itself or is damaged. `details.file`, `.tensor`, `.field`, `.expected`, `.actual`. */
  | "ERR_NVIUM_MODEL_FORMAT"
  /** The checkpoint is well formed but asks for what this runtime does not do. `details.file`, `.field`. */
  | "ERR_NVIUM_UNSUPPORTED"
  /** Reading a file failed. `details.file`, and `cause` where the system gave one. */
  | "ERR_NVIUM_IO"
  /** Memory ran out. `details.needed` in bytes where it is known. */
  | "ERR_NVIUM_OUT_OF_MEMORY"
  /** A step was asked of a session that holds no token. */
  | "ERR_NVIUM_EMPTY"
  /** The sequence would grow past its limit. `details.limit`, `details.needed`. */
  | "ERR_NVIUM_CONTEXT_FULL"
  /** A computation produced a value that is not finite. `details.where`. */
  | "ERR_NVIUM_NON_FINITE"
  /** The session or model is working, or an iterator owns the session. */
  | "ERR_NVIUM_BUSY"
  /** The session or model was disposed, or the process or worker is exiting. */
  | "ERR_NVIUM_DISPOSED"
  /** The device that was asked for cannot be used. `details.reason`. */
  | "ERR_NVIUM_CUDA_UNAVAILABLE"
  /** A CUDA call failed, or the device did. `details.operation`, `.cudaCode`, `.cudaName`. */
  | "ERR_NVIUM_CUDA"
  /** The tokenizer is missing, damaged or does not fit the model. `details.file`. */
  | "ERR_NVIUM_TOKENIZER"
  /** A defect in nvium itself. Please report it. */
  | "ERR_NVIUM_INTERNAL";

export type ErrorDetails = Readonly<Record<string, unknown>>;

/** Every error nvium raises, except an abort, which rejects with the signal's own reason. */
export class NviumError extends Error {
  override readonly name = "NviumError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

/** The text of what was thrown, by whom ever: errors of other realms are no instances of this one's `Error`. */
export function messageOf(thrown: unknown): string {
  const message = property(thrown, "message");
  return typeof message === "string" ? message : String(thrown);
}

/** The `code` of an error of the system or of Node.js. */
export function codeOf(thrown: unknown): unknown {
  return property(thrown, "code");
}

function property(thrown: unknown, name: string): unknown {
  return typeof thrown === "object" && thrown !== null
    ? (thrown as Record<string, unknown>)[name]
    : undefined;
}
