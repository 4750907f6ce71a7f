import { evict, fork, type SequenceState, truncate } from "./cache/sequence.js";
import {
  checkOptions,
  checkSeed,
  checkSignal,
  checkTokens,
  flag,
  integer,
  invalid,
  type OptionNames,
  optionalFunction,
  UNBOUNDED,
} from "./checks.js";
import {
  type Chunk,
  CONTINUE_OPTIONS,
  type ContinueOptions,
  checkContinuation,
  checkTimeLimit,
  continueText,
  type GenerateResult,
  NO_WORDS,
  printable,
} from "./continuation.js";
import type { ModelCore } from "./core.js";
import type { Ending } from "./ending.js";
import { NviumError } from "./errors.js";
import { createGeneration, type Generation } from "./generation.js";
import { checkLaw, SAMPLING_OPTIONS, type SamplingOptions } from "./sampling.js";
import {
  type Answer,
  type Ask,
  type DrawnStep,
  disposed,
  requireRoom,
  type Scheduler,
  type Sequence,
} from "./scheduler.js";
import { createCounter, type Stats } from "./stats.js";
import { noTokenizer } from "./text/files.js";

export interface SessionOptions {
  /**
   * Key of every random choice. The same seed, stream, position and context give the same token. A safe integer >= 0 or a
   * bigint in [0, 2^64), or its digits, as a result in JSON has them. Default: random; read it from `session.seed`.
   */
  readonly seed?: number | bigint | string;
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
  /** Take over what earlier sequences have computed of the same text, and leave behind what this one has. Default true. */
  readonly prefixCache?: boolean;
  /** Only sequences with the same salt share prefixes, so that nobody learns of others' texts by how fast theirs begins. Default "". */
  readonly cacheSalt?: string;
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

/** Gives back the blocks of sessions that were forgotten without `dispose`. */
const forgotten = new FinalizationRegistry(
  ({ scheduler, sequence }: { scheduler: Scheduler; sequence: Sequence }) =>
    void scheduler.close(sequence),
);

const SESSION_OPTIONS: OptionNames<SessionOptions> = {
  seed: true,
  stream: true,
  maxTokens: true,
  extendContext: true,
  maxPending: true,
  prefixCache: true,
  cacheSalt: true,
};
const STEP_OPTIONS: OptionNames<StepOptions> = { ...SAMPLING_OPTIONS, force: true, signal: true };
const DECODE_OPTIONS: OptionNames<DecodeOptions> = { ...STEP_OPTIONS, stopTokens: true };
const SIGNAL_OPTION = { signal: true } as const;
const STREAM_OPTION = { stream: true } as const;

const EXACT = checkLaw({}, UNBOUNDED);
/** Positions there may be. */
const MOST_TOKENS = 2 ** 24;
const NO_TOKENS = new Uint32Array();

/** Options of a session, checked. */
interface Settings {
  readonly seed: bigint;
  readonly stream: number;
  readonly maxTokens: number;
  readonly maxPending: number;
  /** Null: no prefix is taken over or left. */
  readonly salt: string | null;
}

function checkSession(options: SessionOptions, contextLength: number): Settings {
  const {
    stream = 0,
    maxTokens = contextLength,
    cacheSalt = "",
  } = checkOptions(options, SESSION_OPTIONS);
  const { extendContext = false, maxPending = 15, prefixCache = true } = options;
  const extended = flag("extendContext", extendContext);
  if (typeof cacheSalt !== "string") throw invalid("cacheSalt", "a string", cacheSalt);
  return {
    seed: checkSeed(options.seed),
    stream: integer("stream", stream, 0, UNBOUNDED),
    maxTokens: checkMaxTokens(maxTokens, contextLength, extended),
    maxPending: checkMaxPending(maxPending),
    salt: flag("prefixCache", prefixCache) ? cacheSalt : null,
  };
}

function checkMaxTokens(maxTokens: number, contextLength: number, extended: boolean): number {
  const most = extended ? MOST_TOKENS : contextLength;
  const within = Number.isInteger(maxTokens) && maxTokens > most && maxTokens <= MOST_TOKENS;
  if (!within) return integer("maxTokens", maxTokens, 1, most);
  const expected = `at most ${most}, the model's context, unless extendContext is true`;
  throw invalid("maxTokens", expected, maxTokens);
}

function checkMaxPending(maxPending: unknown): number {
  if (maxPending === Number.POSITIVE_INFINITY) return UNBOUNDED;
  const most = UNBOUNDED - 1;
  if (typeof maxPending === "number") return integer("maxPending", maxPending, 0, most);
  throw invalid("maxPending", `a whole number from 0 to ${most}, or Infinity`, maxPending);
}

/** One sequence: its tokens, its keys and values, its deferred rows. Made by `model.createSession()`. */
export class Session implements AsyncDisposable {
  readonly #core: ModelCore;
  readonly #settings: Settings;
  readonly #sequence: Sequence;
  readonly #counter;
  /** Tokens there are for a caller: those drawn ahead by `decode` are not handed out yet. */
  #length: number;
  /** An iterator of `decode` owns the session. */
  #owned = false;
  /** A call has been made: what was computed is no longer only what was taken over. */
  #begun: boolean;
  #disposal: Promise<void> | undefined;

  /** @internal */
  constructor(core: ModelCore, settings: Settings, state?: SequenceState) {
    const { scheduler } = core;
    this.#core = core;
    this.#settings = settings;
    this.#sequence = scheduler.open(settings, state);
    this.#length = this.#sequence.state.tokens.length;
    this.#begun = state !== undefined;
    this.#counter = createCounter(core.plan);
    forgotten.register(this, { scheduler, sequence: this.#sequence }, this);
  }

  /** Tokens there are. */
  get length(): number {
    return Math.min(this.#length, this.state.tokens.length);
  }

  /** A copy of the tokens. */
  get tokens(): number[] {
    return this.state.tokens.slice(0, this.length);
  }

  /** f_1 … f_N: positions each segment has processed. */
  get frontiers(): number[] {
    const last = Math.max(this.length - 1, 0);
    return this.state.frontiers.map((f) => Math.min(f, last));
  }

  get seed(): bigint {
    return this.#settings.seed;
  }

  get stream(): number {
    return this.#sequence.stream;
  }

  get maxTokens(): number {
    return this.#settings.maxTokens;
  }

  stats(): Stats {
    return this.#counter.stats(this.frontiers);
  }

  /**
   * Adds tokens behind those there are; they are computed when a step or `flush` needs them. Before the first call, what
   * earlier sequences have computed of the same text is taken over.
   * Throws ERR_NVIUM_INVALID_ARG, ERR_NVIUM_CONTEXT_FULL (nothing is added), ERR_NVIUM_BUSY, ERR_NVIUM_DISPOSED.
   */
  append(tokens: Iterable<number>): void {
    this.#requireIdle();
    const { state } = this;
    const { salt, maxTokens } = this.#settings;
    const list = checkTokens(tokens, this.#core.plan.vocabSize);
    requireRoom(state, maxTokens, list.length);
    const fresh = !this.#begun || state.frontiers[0] === 0;
    for (const token of list) {
      state.tokens.push(token);
      state.generated.push(0);
    }
    this.#length = state.tokens.length;
    if (!fresh || salt === null) return;
    const { pools, prefixes } = this.#core.scheduler.memory;
    evict(state, pools);
    this.#counter.cachedTokens = prefixes.takeOver(state, salt);
  }

  /**
   * Draws the next token and appends it. Calls queue in order. Rejects with ERR_NVIUM_EMPTY, ERR_NVIUM_CONTEXT_FULL,
   * ERR_NVIUM_INVALID_ARG, ERR_NVIUM_BUSY (an iterator owns the session), ERR_NVIUM_DISPOSED, ERR_NVIUM_NON_FINITE,
   * ERR_NVIUM_OUT_OF_MEMORY, or the signal's reason; then the tokens are as before.
   */
  async step(options: StepOptions = {}): Promise<Step> {
    this.#requireOwnership();
    return this.#taken(await this.#submit(this.#checkStep(options, 1)));
  }

  /** `step` on the calling thread, for workers and benchmarks. Throws what `step` rejects with, and ERR_NVIUM_BUSY while any job of the model runs. */
  stepSync(options: StepOptions = {}): Step {
    this.#requireIdle();
    const ask = this.#checkStep(options, 1);
    const { scheduler } = this.#core;
    if (!scheduler.idle) throw busy("a job of the model runs");
    this.#begun = true;
    this.#counter.goOn();
    return this.#taken(scheduler.runSync(this.#sequence, ask));
  }

  /**
   * Up to `count` steps, looped natively several tokens at a time and handed out one by one. From the first `next()` until it
   * ends the iterator owns the session: all but getters, `stats` and `dispose` fails with ERR_NVIUM_BUSY, and getters count the
   * tokens handed out. Leaving the loop early forgets the tokens not handed out. An error arrives after the tokens drawn
   * before it.
   */
  decode(count: number, options: DecodeOptions = {}): AsyncGenerator<Step, void, undefined> {
    const { stopTokens = [], force, ...rest } = checkOptions(options, DECODE_OPTIONS);
    const steps = integer("count", count, 0, Number.MAX_SAFE_INTEGER);
    const stops = checkTokens(stopTokens, this.#core.plan.vocabSize, "stopTokens");
    optionalFunction("force", force);
    const ask = { ...this.#checkStep(rest, 1), stopTokens: new Uint32Array(stops) };
    return this.#decode(steps, ask, force);
  }

  async *#decode(
    count: number,
    ask: Ask,
    force: DecodeOptions["force"],
  ): AsyncGenerator<Step, void, undefined> {
    this.#requireIdle();
    this.#owned = true;
    let drawn: DrawnStep[] = [];
    try {
      for (let left = count; left > 0; ) {
        const forced = force?.(this.#length);
        const { steps, error, stop } = await this.#submit({
          ...ask,
          count: force === undefined ? Math.min(left, UNBOUNDED) : 1,
          force: this.#checkForce(forced),
        });
        drawn = [...steps];
        left -= steps.length;
        for (const step of steps) {
          this.#requireLive();
          drawn.shift();
          yield this.#handOut(step);
        }
        if (error !== undefined) throw error;
        if (stop === "token") return;
      }
    } finally {
      // Tokens that were not handed out never were: what they cost is counted beside.
      this.#counter.discard(drawn, this.state.frontiers, this.#length);
      if (!this.#sequence.closed) truncate(this.state, this.#pools, this.#length);
      this.#owned = false;
    }
  }

  /**
   * Text in, text out: appends `prompt` (a text, encoded with what surrounds one only where the session is empty; or tokens),
   * and goes on from there until something ends it. The session then holds all of the result's `tokens`, those of a stop
   * string included; `promptTokens` is all it held before them, and `stats` is the session's. Nothing happens until the
   * generation is iterated or awaited; while it runs it owns the session, as `decode` does. Rejects with what `append` and
   * `step` fail with, and ERR_NVIUM_TOKENIZER.
   */
  generate(prompt: string | Iterable<number> = "", options: ContinueOptions = {}): Generation {
    return createGeneration(() => {
      checkOptions(options, CONTINUE_OPTIONS, " seed, stream and maxPending are the session's.");
      return {
        signal: checkSignal(options.signal),
        timeLimit: checkTimeLimit(options.timeLimit),
        run: (ending, left) => this.#generate(prompt, options, ending, left),
        nothing: async () => {
          const { seed, tokens: promptTokens } = this;
          const stats = this.stats();
          const nothing = { text: "", tokens: [], exits: [], finishReason: "left" as const };
          return printable({ ...nothing, promptTokens, seed, stats });
        },
      };
    });
  }

  async *#generate(
    prompt: string | Iterable<number>,
    options: ContinueOptions,
    ending: Ending,
    left: (result: GenerateResult) => void,
  ): AsyncGenerator<Chunk, GenerateResult, undefined> {
    const { text, plan } = this.#core;
    const how = checkContinuation(options, text.eosTokens, plan.vocabSize, text);
    this.#requireIdle();
    this.append(typeof prompt === "string" ? await this.#encode(prompt) : prompt);
    const { tokens } = this;
    const words = text.tokenizer?.stream({ skipSpecialTokens: true, after: tokens }) ?? NO_WORDS;
    return yield* continueText(this, how, tokens, words, ending, left);
  }

  async #encode(prompt: string): Promise<number[]> {
    if (prompt === "" && this.length > 0) return [];
    const { tokenizer } = this.#core.text;
    if (tokenizer === null) throw noTokenizer();
    return tokenizer.encode(prompt, { addSpecialTokens: this.length === 0 });
  }

  /**
   * Brings every segment to the last token but one, so that nothing is deferred; an empty session has nothing to do. Rejects
   * with ERR_NVIUM_NON_FINITE, ERR_NVIUM_OUT_OF_MEMORY, ERR_NVIUM_CUDA, ERR_NVIUM_BUSY, ERR_NVIUM_DISPOSED,
   * ERR_NVIUM_INVALID_ARG, or the signal's reason.
   */
  async flush(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    this.#requireOwnership();
    const signal = checkSignal(checkOptions(options, SIGNAL_OPTION).signal);
    const nothing = { law: EXACT, count: 0, force: -1, stopTokens: NO_TOKENS, signal };
    const { error } = await this.#submit(nothing);
    if (error !== undefined) throw error;
  }

  /**
   * Keeps the first `length` tokens. With `stream`, what is drawn from here on uses another stream of random numbers.
   * Throws ERR_NVIUM_INVALID_ARG, ERR_NVIUM_BUSY, ERR_NVIUM_DISPOSED.
   */
  truncate(length: number, options: { readonly stream?: number } = {}): void {
    this.#requireIdle();
    const { stream = this.stream } = checkOptions(options, STREAM_OPTION);
    integer("length", length, 0, this.#length);
    this.#sequence.stream = integer("stream", stream, 0, UNBOUNDED);
    truncate(this.state, this.#pools, length);
    this.#counter.goOn();
    this.#length = length;
  }

  /**
   * A second session with the same tokens, which shares what has been computed. It draws the same tokens unless it is
   * given another stream. Throws as `truncate` does.
   */
  fork(options: { readonly stream?: number } = {}): Session {
    this.#requireIdle();
    const { stream = this.stream } = checkOptions(options, STREAM_OPTION);
    const settings = { ...this.#settings, stream: integer("stream", stream, 0, UNBOUNDED) };
    return new Session(this.#core, settings, fork(this.state, this.#pools));
  }

  /**
   * Waits for the call in flight, then gives the memory back, or what was computed to the prefix cache. Calls that still
   * wait reject with ERR_NVIUM_DISPOSED at once.
   */
  async dispose(): Promise<void> {
    forgotten.unregister(this);
    const { salt } = this.#settings;
    this.#disposal ??= this.#core.scheduler.close(this.#sequence, salt ?? undefined);
    return this.#disposal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /** For tests of equality: the blocks that hold the sequence. @internal */
  get state(): SequenceState {
    return this.#sequence.state;
  }

  get #pools() {
    return this.#core.scheduler.memory.pools;
  }

  #checkStep(options: StepOptions, count: number): Ask {
    const signal = checkSignal(checkOptions(options, STEP_OPTIONS).signal);
    const law = checkLaw(options, this.#core.plan.vocabSize);
    return { law, count, force: this.#checkForce(options.force), stopTokens: NO_TOKENS, signal };
  }

  #checkForce(token: number | undefined): number {
    return token === undefined ? -1 : integer("force", token, 0, this.#core.plan.vocabSize - 1);
  }

  async #submit(ask: Ask): Promise<Answer> {
    this.#begun = true;
    this.#counter.goOn();
    const answer = await this.#core.scheduler.submit(this.#sequence, ask);
    this.#counter.work(answer.work);
    return answer;
  }

  /** The one step of an answer. */
  #taken({ steps, error }: Answer): Step {
    const [step] = steps;
    if (step === undefined) throw error;
    return this.#handOut(step);
  }

  #handOut(step: DrawnStep): Step {
    this.#length = step.position + 1;
    this.#counter.step(step);
    const { token, drawn, position, exit, layersRun, pending } = step;
    const told = { token, position, exit, layersRun, pending };
    return drawn === token ? told : { ...told, drawn };
  }

  #requireLive(): void {
    if (this.#sequence.closed || this.#core.disposed) throw disposed();
  }

  #requireOwnership(): void {
    this.#requireLive();
    if (this.#owned) throw busy("an iterator of decode() owns the session");
  }

  #requireIdle(): void {
    this.#requireOwnership();
    if (this.#sequence.asked > 0) throw busy("a call is in flight");
  }
}

function busy(why: string): NviumError {
  return new NviumError("ERR_NVIUM_BUSY", `This cannot be done now: ${why}.`);
}

/** A session of a model with these options. */
export function openSession(core: ModelCore, options: SessionOptions): Session {
  return new Session(core, checkSession(options, core.plan.contextLength));
}
