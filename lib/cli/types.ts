/** What the commands need from the engine and from the process, so that tests can stand in for both. */

export interface LoadProgress {
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

export interface LoadOptions {
  readonly device?: "auto" | "cpu" | "cuda";
  readonly threads?: number;
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
}

export interface ModelInfo {
  readonly layers: number;
  /** Layers run before each exit, the last of them all. */
  readonly exits: readonly number[];
  readonly parameters: number;
  readonly dtype: string;
  readonly device: string;
  readonly deviceReason: string;
}

export interface GenerateOptions {
  readonly maxNewTokens?: number;
  readonly stop?: readonly string[];
  readonly seed?: bigint;
  readonly signal?: AbortSignal;
  readonly temperature?: number;
  readonly topK?: number;
  readonly greedy?: boolean;
  readonly router?: "sample" | "greedy";
  readonly routerTemperature?: number;
  readonly maxPending?: number;
}

export interface Chunk {
  readonly text: string;
  readonly tokens: readonly number[];
  /** The exit each token left at, 1-based. */
  readonly exits: readonly number[];
}

export interface Stats {
  /** Times one layer's weights were read. */
  readonly layerPasses: number;
  /** Bytes of weights read. */
  readonly weightBytes: number;
  /** Rows computed, counted once a layer. */
  readonly rowsRun: number;
  /** Rows deferred and never computed, counted once a layer. */
  readonly rowsNeverRun: number;
}

export interface GenerateResult {
  readonly finishReason: "eos" | "stop" | "length";
  readonly seed: bigint;
  readonly stats: Stats;
}

export interface Generation extends AsyncIterable<Chunk> {
  result(): Promise<GenerateResult>;
}

export interface Model {
  readonly info: ModelInfo;
  generate(prompt: string, options: GenerateOptions): Generation;
  dispose(): Promise<void>;
}

export type LoadModel = (directory: string, options: LoadOptions) => Promise<Model>;

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** Width of the terminal. */
  readonly columns?: number;
}

export interface Input extends AsyncIterable<Uint8Array | string> {
  readonly isTTY?: boolean;
  /** Ends a read that is waiting. */
  destroy(error?: Error): unknown;
}

/** The process as a command sees it. */
export interface Context {
  readonly stdin: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted when the user interrupts, or when nobody reads the output any more. */
  readonly signal: AbortSignal;
  readonly loadModel: LoadModel;
}

/** The command line is wrong: exit code 2. */
export class UsageError extends Error {}

/** The reason a signal is aborted with when the user presses Ctrl-C. */
export const INTERRUPTED = new Error("interrupted");
