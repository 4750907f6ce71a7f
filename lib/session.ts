import {
  commit,
  createSequence,
  describe,
  fork,
  type Reservation,
  release,
  reserve,
  type SequenceState,
  truncate,
} from "./cache/sequence.js";
import { NviumError } from "./errors.js";
import type { Engine } from "./model.js";
import {
  fromNative,
  type NativeCall,
  type NativeResult,
  type NativeStepCall,
  STEP_FIELDS,
} from "./native.js";
import { abortable, createQueue } from "./queue.js";
import {
  checkIterable,
  checkOptions,
  flag,
  integer,
  invalid,
  nativeOptions,
  type SamplingOptions,
  UNBOUNDED,
} from "./sampling.js";
import { isSignal } from "./signal.js";

export interface SessionOptions {
  /**
   * Key of every random choice. The same seed, stream, position and context give the same token. A safe integer >= 0 or a
   * bigint in [0, 2^64). Default: random; read it from `session.seed`.
   */
  readonly seed?: number | bigint;
  /** A second key, for sequences that share a seed. An integer in [0, 2^32). Default 0. */
  readonly stream?: number;
  /** Tokens the sequence may hold. At most the model's context length, unless `extendContext` is set, and at most 2^24. Default: that length. */
  readonly maxTokens?: number;
  /** Allow positions past the model's context length, which it was not trained for. Default false. */
  readonly extendContext?: boolean;
  /**
   * Generated rows that may wait at a boundary. A step that finds as many takes them through the segments above, together
   * with its own row, whatever the router says: latency stays bounded, the law and the tokens are the same. 0 runs every
   * segment at every step; Infinity sets no bound. Default 15.
   */
  readonly maxPending?: number;
}

export interface StepOptions extends SamplingOptions {
  /** Append this token instead of the one drawn, which is reported as `drawn`. */
  readonly force?: number;
  /** Aborting makes the call reject with the signal's reason; the tokens are as before. */
  readonly signal?: AbortSignal;
}

export interface DecodeOptions extends Omit<StepOptions, "force"> {
  /** The loop ends after one of these; it is handed out too, last. Default: none. */
  readonly stopTokens?: Iterable<number>;
  /**
   * Called before each step with the position it fills; a token it returns is appended instead of the one drawn. With it
   * every token is a call of its own.
   */
  readonly force?: (position: number) => number | undefined;
}

export interface Step {
  /** The token appended. */
  readonly token: number;
  /** Its index in the sequence. */
  readonly position: number;
  /** The exit it was drawn at, 1-based; N is full depth. */
  readonly exit: number;
  /** Layers the step's own row ran through: more than the exit's where a boundary was overdue. */
  readonly layersRun: number;
  /** Rows that segment 1 has processed and segment N has not, after the step. */
  readonly pending: number;
  /** What the model drew; present where `force` replaced it. */
  readonly drawn?: number;
}

export interface Stats {
  /** Tokens appended by steps. */
  readonly tokens: number;
  /** How many of them left at exit 1 … N. */
  readonly exits: readonly number[];
  /** Times one layer's weights were read, prompt included. */
  readonly layerPasses: number;
  /** Bytes of weights read: layers, routers, adapters and heads. */
  readonly weightBytes: number;
  /** Rows computed, counted once a layer. */
  readonly rowsRun: number;
  /** Rows that wait before a segment now, counted once a layer of every segment they have not run through. */
  readonly rowsNeverRun: number;
}

/** Most tokens one native call draws, and the time in milliseconds after which it begins no further step. */
const DECODE_TOKENS = 32;
const DECODE_BUDGET = 16;

/** Gives back the blocks of sessions that were forgotten without `dispose`. */
const forgotten = new FinalizationRegistry(
  ({ engine, state, self }: { engine: Engine; state: SequenceState; self: WeakRef<Session> }) => {
    release(state, engine.pools);
    engine.sessions.delete(self);
  },
);

/** One sequence: its tokens, its keys and values, its deferred rows. Made by `model.createSession()`. */
export class Session implements AsyncDisposable {
  readonly #engine: Engine;
  readonly #queue = createQueue();
  readonly #maxTokens: number;
  readonly #maxPending: number;
  readonly #seed: bigint;
  #stream: number;
  readonly #state: SequenceState;
  readonly #self = new WeakRef(this);
  #disposed: Promise<void> | undefined;
  /** While an iterator of `decode` owns the session: how many tokens it shows. */
  #shown: number | undefined;
  #counts: { exits: number[]; layerPasses: number; weightBytes: number; rowsRun: number };

  /** @internal */
  constructor(engine: Engine, options: SessionOptions, parent?: SequenceState) {
    const { seed, stream = 0, extendContext = false, maxPending = 15 } = checkOptions(options);
    const context = engine.plan.contextLength;
    const { maxTokens = context } = options;
    this.#engine = engine;
    this.#seed = checkSeed(seed);
    this.#stream = integer("stream", stream, 0, UNBOUNDED);
    const most = flag("extendContext", extendContext) ? 2 ** 24 : context;
    this.#maxTokens = integer("maxTokens", maxTokens, 1, most);
    this.#maxPending =
      maxPending === Number.POSITIVE_INFINITY
        ? UNBOUNDED
        : integer("maxPending", maxPending, 0, UNBOUNDED - 1);
    this.#state = parent ? fork(parent, engine.pools) : createSequence(engine.segments);
    this.#counts = {
      exits: new Array<number>(engine.segments).fill(0),
      layerPasses: 0,
      weightBytes: 0,
      rowsRun: 0,
    };
    const self = this.#self;
    engine.sessions.add(self);
    forgotten.register(this, { engine, state: this.#state, self }, this);
  }

  /** Tokens there are. */
  get length(): number {
    return this.#shown ?? this.#state.tokens.length;
  }

  /** A copy of the tokens. */
  get tokens(): number[] {
    return this.#state.tokens.slice(0, this.length);
  }

  /** f_1 … f_N: positions each segment has processed. */
  get frontiers(): number[] {
    const last = Math.max(this.length - 1, 0);
    return this.#state.frontiers.map((f) => Math.min(f, last));
  }

  get seed(): bigint {
    return this.#seed;
  }

  get stream(): number {
    return this.#stream;
  }

  get maxTokens(): number {
    return this.#maxTokens;
  }

  stats(): Stats {
    const { frontiers } = this;
    const { plan } = this.#engine;
    let waiting = 0;
    for (let m = 1; m < frontiers.length; m++) {
      const begin = plan.exits[m - 1]?.afterLayer ?? 0;
      const end = plan.exits[m]?.afterLayer ?? plan.layers;
      waiting += ((frontiers[0] ?? 0) - (frontiers[m] ?? 0)) * (end - begin);
    }
    const { exits, ...rest } = this.#counts;
    return {
      tokens: exits.reduce((sum, count) => sum + count, 0),
      exits: [...exits],
      ...rest,
      rowsNeverRun: waiting,
    };
  }

  /**
   * Adds tokens behind those there are; they are computed when a step or `flush` needs them.
   * Throws ERR_NVIUM_INVALID_ARG, ERR_NVIUM_CONTEXT_FULL (nothing is added), ERR_NVIUM_BUSY, ERR_NVIUM_DISPOSED.
   */
  append(tokens: Iterable<number>): void {
    this.#requireIdle();
    const list = checkTokens(tokens, this.#engine.plan.vocabSize);
    this.#requireRoom(list.length);
    for (const token of list) {
      this.#state.tokens.push(token);
      this.#state.generated.push(0);
    }
  }

  /**
   * Draws the next token and appends it. Calls queue in order. Rejects with ERR_NVIUM_EMPTY, ERR_NVIUM_CONTEXT_FULL,
   * ERR_NVIUM_INVALID_ARG, ERR_NVIUM_BUSY (an iterator owns the session), ERR_NVIUM_DISPOSED, ERR_NVIUM_NON_FINITE,
   * ERR_NVIUM_OUT_OF_MEMORY, or the signal's reason; then the tokens are as before.
   */
  async step(options: StepOptions = {}): Promise<Step> {
    this.#requireOwnership();
    const { signal, native } = this.#checkStep(options);
    return this.#queue.run(async () => {
      const { steps, error } = await this.#steps(native, 1, [], signal);
      const [step] = steps;
      if (step === undefined) throw error;
      return step;
    });
  }

  /** `step` on the calling thread, for workers and benchmarks. Throws what `step` rejects with, and ERR_NVIUM_BUSY while any job of the model runs. */
  stepSync(options: StepOptions = {}): Step {
    this.#requireIdle();
    const { signal, native } = this.#checkStep(options);
    const { queue, sessions } = this.#engine;
    const working = [...sessions].some((reference) => {
      const session = reference.deref();
      return session === undefined ? false : session.#queue.busy;
    });
    if (queue.busy || working) throw busy("a job of the model runs");
    signal?.throwIfAborted();
    this.#requireToken();
    this.#requireRoom(1);
    const reservation = reserve(this.#state, this.#engine.pools, this.#state.tokens.length);
    const result = this.#attempt(reservation, () =>
      this.#engine.native.stepSync(this.#stepCall(reservation, native, 1, [], new Int32Array(1))),
    );
    const { steps, error } = this.#accept(reservation, result, signal);
    const [step] = steps;
    if (step === undefined) throw error;
    return step;
  }

  /**
   * Up to `count` steps, looped natively several tokens at a time and handed out one by one. From the first `next()` until it
   * ends the iterator owns the session: all but getters, `stats` and `dispose` fails with ERR_NVIUM_BUSY, and getters count the
   * tokens handed out. Leaving the loop early forgets the tokens not handed out. An error arrives after the tokens drawn
   * before it.
   */
  decode(count: number, options: DecodeOptions = {}): AsyncGenerator<Step, void, undefined> {
    const { stopTokens = [], force, ...rest } = checkOptions(options);
    const steps = integer("count", count, 0, Number.MAX_SAFE_INTEGER);
    const stops = checkTokens(stopTokens, this.#engine.plan.vocabSize, "stopTokens");
    if (force !== undefined && typeof force !== "function") {
      throw invalid("force", "a function", force);
    }
    const { signal } = this.#checkStep(rest);
    return this.#decode(steps, stops, force, rest, signal);
  }

  async *#decode(
    count: number,
    stops: number[],
    force: DecodeOptions["force"],
    options: StepOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Step, void, undefined> {
    this.#requireIdle();
    let shown = this.#state.tokens.length;
    let drawn: readonly Step[] = [];
    this.#shown = shown;
    try {
      for (let left = count; left > 0; ) {
        this.#requireToken();
        this.#requireRoom(1);
        const forced = force?.(shown);
        const room = this.#maxTokens - this.#state.tokens.length;
        const batch = force === undefined ? Math.min(left, DECODE_TOKENS, room) : 1;
        const { native } = this.#checkStep(
          forced === undefined ? options : { ...options, force: forced },
        );
        const { steps, error } = await this.#queue.run(() =>
          this.#steps(native, batch, stops, signal),
        );
        drawn = steps;
        for (const step of steps) {
          this.#requireLive();
          shown++;
          this.#shown = shown;
          yield step;
          if (stops.includes(step.token)) return;
        }
        if (error !== undefined) throw error;
        left -= steps.length;
      }
    } finally {
      // Tokens that were not handed out never were: their cost stays in the statistics, they do not.
      for (const { position, exit } of drawn) if (position >= shown) this.#count(exit, -1);
      if (this.#disposed === undefined) truncate(this.#state, this.#engine.pools, shown);
      this.#shown = undefined;
    }
  }

  /**
   * Brings every segment to the last token but one, so that nothing is deferred; an empty session has nothing to do. Rejects
   * with ERR_NVIUM_NON_FINITE, ERR_NVIUM_OUT_OF_MEMORY, ERR_NVIUM_CUDA, ERR_NVIUM_BUSY, ERR_NVIUM_DISPOSED,
   * ERR_NVIUM_INVALID_ARG, or the signal's reason.
   */
  async flush(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#requireOwnership();
    const signal = checkSignal(checkOptions(options).signal);
    return this.#queue.run(() =>
      this.#onEngine(signal, async (abort) => {
        const { native, pools } = this.#engine;
        const reservation = reserve(this.#state, pools, this.#state.tokens.length);
        const result = await this.#attemptAsync(reservation, () =>
          native.flush(this.#call(reservation, abort)),
        );
        const { error } = this.#accept(reservation, result, signal);
        if (error === undefined) return;
        await this.#engine.trimmer.now();
        throw error;
      }),
    );
  }

  /**
   * Keeps the first `length` tokens. With `stream`, what is drawn from here on uses another stream of random numbers.
   * Throws ERR_NVIUM_INVALID_ARG, ERR_NVIUM_BUSY, ERR_NVIUM_DISPOSED.
   */
  truncate(length: number, options: { readonly stream?: number } = {}): void {
    this.#requireIdle();
    const { stream = this.#stream } = checkOptions(options);
    integer("length", length, 0, this.#state.tokens.length);
    this.#stream = integer("stream", stream, 0, UNBOUNDED);
    truncate(this.#state, this.#engine.pools, length);
  }

  /**
   * A second session with the same tokens, which shares what has been computed. It draws the same tokens unless it is
   * given another stream. Throws as `truncate` does.
   */
  fork(options: { readonly stream?: number } = {}): Session {
    this.#requireIdle();
    const { stream = this.#stream } = checkOptions(options);
    return new Session(
      this.#engine,
      {
        seed: this.#seed,
        stream: integer("stream", stream, 0, UNBOUNDED),
        maxTokens: this.#maxTokens,
        extendContext: true,
        maxPending: this.#maxPending === UNBOUNDED ? Number.POSITIVE_INFINITY : this.#maxPending,
      },
      this.#state,
    );
  }

  /** Waits for the call in flight, then gives the memory back. Calls that still wait reject with ERR_NVIUM_DISPOSED. */
  async dispose(): Promise<void> {
    this.#disposed ??= this.#queue.idle().then(() => {
      release(this.#state, this.#engine.pools);
      this.#engine.sessions.delete(this.#self);
      forgotten.unregister(this);
    });
    return this.#disposed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /** For tests of equality: the blocks that hold the sequence. @internal */
  get state(): SequenceState {
    return this.#state;
  }

  #checkStep(options: StepOptions) {
    const { plan } = this.#engine;
    return {
      signal: checkSignal(checkOptions(options).signal),
      native: nativeOptions(options, plan.vocabSize, this.#maxPending, options.force),
    };
  }

  /** Runs when nothing else of the model does, unless the session is disposed or the signal has fired. */
  #onEngine<T>(
    signal: AbortSignal | undefined,
    work: (abort: Int32Array<ArrayBuffer>) => Promise<T>,
  ): Promise<T> {
    return this.#engine.queue.run(() => {
      this.#requireLive();
      return abortable(signal, work);
    });
  }

  async #steps(
    native: NativeStepCall["options"][number],
    count: number,
    stops: number[],
    signal: AbortSignal | undefined,
  ) {
    return this.#onEngine(signal, async (abort) => {
      this.#requireToken();
      this.#requireRoom(1);
      const end = this.#state.tokens.length + count - 1;
      const reservation = reserve(this.#state, this.#engine.pools, end);
      const result = await this.#attemptAsync(reservation, () =>
        this.#engine.native.step(this.#stepCall(reservation, native, count, stops, abort)),
      );
      const accepted = this.#accept(reservation, result, signal);
      // Nothing of a call that failed outlives it.
      if (accepted.error !== undefined) await this.#engine.trimmer.now();
      return accepted;
    });
  }

  #call(reservation: Reservation, abort: Int32Array<ArrayBuffer>): NativeCall {
    const { pools } = this.#engine;
    return {
      sequences: [describe(this.#state, reservation, this.#seed, this.#stream)],
      cacheBlocks: pools.cache.size,
      boundaryBlocks: pools.boundary.size,
      fresh: new Uint32Array(reservation.fresh),
      positions: reservation.end,
      control: { abort },
    };
  }

  #stepCall(
    reservation: Reservation,
    options: NativeStepCall["options"][number],
    count: number,
    stops: number[],
    abort: Int32Array<ArrayBuffer>,
  ): NativeStepCall {
    return {
      ...this.#call(reservation, abort),
      options: [options],
      count,
      budget: DECODE_BUDGET,
      stopTokens: new Uint32Array(stops),
    };
  }

  /** A native call that throws has computed nothing: the reservation goes back. */
  #attempt<T>(reservation: Reservation, call: () => T): T {
    try {
      return call();
    } catch (failure) {
      throw this.#giveBack(reservation, failure);
    }
  }

  async #attemptAsync<T>(reservation: Reservation, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (failure) {
      throw this.#giveBack(reservation, failure);
    }
  }

  #giveBack(reservation: Reservation, failure: unknown): unknown {
    commit(this.#state, this.#engine.pools, reservation, this.#state.frontiers);
    return fromNative(failure);
  }

  /** Takes over what a call did: blocks, frontiers, tokens, costs. */
  #accept(reservation: Reservation, result: NativeResult, signal: AbortSignal | undefined) {
    const [frontiers] = result.frontiers;
    const [numbers] = result.steps;
    if (frontiers === undefined || numbers === undefined) {
      throw new NviumError("ERR_NVIUM_INTERNAL", "A native call returned no sequence.");
    }
    commit(this.#state, this.#engine.pools, reservation, Array.from(frontiers));
    this.#counts.layerPasses += result.work.layerPasses;
    this.#counts.weightBytes += result.work.weightBytes;
    this.#counts.rowsRun += result.work.layerRows;
    const steps: Step[] = [];
    for (let i = 0; i < numbers.length; i += STEP_FIELDS) {
      const field = (n: number) => numbers[i + n] ?? 0;
      const token = field(0);
      const drawn = field(1);
      const exit = field(2);
      const position = this.#state.tokens.length;
      this.#state.tokens.push(token);
      this.#state.generated.push(1);
      this.#count(exit, 1);
      const step = { token, position, exit, layersRun: field(3), pending: field(4) };
      steps.push(drawn === token ? step : { ...step, drawn });
    }
    const error = result.error === null ? undefined : fromNative(result.error, signal);
    return { steps, error };
  }

  #count(exit: number, by: number): void {
    const { exits } = this.#counts;
    exits[exit - 1] = (exits[exit - 1] ?? 0) + by;
  }

  #requireLive(): void {
    if (this.#disposed !== undefined || this.#engine.disposed) {
      throw new NviumError("ERR_NVIUM_DISPOSED", "The session was disposed.");
    }
  }

  #requireOwnership(): void {
    this.#requireLive();
    if (this.#shown !== undefined) throw busy("an iterator of decode() owns the session");
  }

  #requireIdle(): void {
    this.#requireOwnership();
    if (this.#queue.busy) throw busy("a call is in flight");
  }

  #requireToken(): void {
    if (this.#state.tokens.length === 0) {
      throw new NviumError(
        "ERR_NVIUM_EMPTY",
        "The session holds no token: append one before the first step.",
      );
    }
  }

  #requireRoom(more: number): void {
    const needed = this.#state.tokens.length + more;
    if (needed <= this.#maxTokens) return;
    throw new NviumError(
      "ERR_NVIUM_CONTEXT_FULL",
      `The sequence would hold ${needed} tokens; its limit is ${this.#maxTokens}.`,
      { limit: this.#maxTokens, needed },
    );
  }
}

function busy(why: string): NviumError {
  return new NviumError("ERR_NVIUM_BUSY", `This cannot be done now: ${why}.`);
}

/** Tokens as a list, each checked. */
export function checkTokens(
  tokens: Iterable<number>,
  vocabSize: number,
  name = "tokens",
): number[] {
  return Array.from(checkIterable(name, tokens), (token, i) =>
    integer(`${name}[${i}]`, token, 0, vocabSize - 1),
  );
}

export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || isSignal(signal)) return signal;
  throw invalid("signal", "an AbortSignal", signal);
}

function checkSeed(seed: unknown): bigint {
  if (seed === undefined) return crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
  if (typeof seed === "bigint" && seed >= 0n && seed < 1n << 64n) return seed;
  if (typeof seed === "number" && Number.isSafeInteger(seed) && seed >= 0) return BigInt(seed);
  throw invalid("seed", "a safe integer >= 0 or a bigint below 2^64", seed);
}
