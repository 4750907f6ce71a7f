/**
 * Where what is asked of all sequences of a model waits, is put together and handed back. One native call runs at a time;
 * it takes everybody who waits, a step of each together, for a bounded time. Sequences join and leave between calls.
 *
 * Whoever was not served longest comes first. Memory goes by age: while the oldest request that lacks blocks waits for
 * some, younger ones go on as far as those they hold suffice. Where nobody can go on, blocks of sequences that nothing is
 * asked of are taken, then those of the youngest request; they are computed again later, with the same bits.
 */
import { clearImmediate, setImmediate } from "node:timers";
import { type BlockMemory, type BlockMemoryOptions, createBlockMemory } from "./cache/memory.js";
import {
  commit,
  createSequence,
  describe,
  evict,
  type Reservation,
  release,
  type SequenceState,
  settle,
} from "./cache/sequence.js";
import { NviumError } from "./errors.js";
import {
  fromNative,
  type NativeCall,
  type NativeFailure,
  type NativeLaw,
  type NativeModel,
  type NativeOutcome,
  type NativeResult,
  type NativeStop,
  type NativeWork,
  STEP_FIELDS,
} from "./native.js";

/** A text in a model: its state, and the key of its random choices. */
export interface Sequence {
  readonly state: SequenceState;
  readonly seed: bigint;
  stream: number;
  /** Tokens it may hold. */
  readonly maxTokens: number;
  readonly maxPending: number;
  /** Nothing more is done for it. */
  readonly closed: boolean;
  /** Requests that wait or run. */
  readonly asked: number;
}

/** What is asked for one sequence. */
export interface Ask {
  readonly law: NativeLaw;
  /** Tokens at the most; 0: a flush. */
  readonly count: number;
  /** A token in place of the one drawn, or -1. */
  readonly force: number;
  readonly stopTokens: Uint32Array;
  readonly signal: AbortSignal | undefined;
  /** A native call of another kind, which takes this sequence alone. */
  readonly alone?: (call: NativeCall) => Promise<NativeResult>;
}

/** A token that was drawn and appended. */
export interface DrawnStep {
  readonly position: number;
  readonly token: number;
  readonly drawn: number;
  readonly exit: number;
  readonly layersRun: number;
  readonly pending: number;
  readonly work: NativeWork;
}

/** What became of it. An error may follow steps that stand. */
export interface Answer {
  readonly steps: readonly DrawnStep[];
  /** Beyond that of the steps. */
  readonly work: NativeWork;
  readonly stop: NativeStop;
  readonly error?: unknown;
}

export interface Scheduler {
  readonly memory: BlockMemory;
  /** Whether nothing runs and nothing waits. */
  readonly idle: boolean;
  /** Requests that wait for memory. */
  readonly waitingForMemory: number;
  /** Sequences that are open. */
  readonly sequences: ReadonlySet<Sequence>;
  open(options: Omit<Sequence, "state" | "closed" | "asked">, state?: SequenceState): Sequence;
  /** Once no call uses them its blocks go back, or to the prefix cache under `salt`. What waits of it is rejected. */
  close(sequence: Sequence, salt?: string): Promise<void>;
  /**
   * Resolves once there is a token, or the request ends. Rejects where it was never begun; with the signal's reason at
   * once while it waits.
   */
  submit(sequence: Sequence, ask: Ask): Promise<Answer>;
  /** The same on this thread; for an idle scheduler. */
  runSync(sequence: Sequence, ask: Ask): Answer;
}

/** Sequences of a call. (Tuning, as all of these: no bit depends on them.) */
const MOST_SEQUENCES = 256;
/** Tokens a call draws for a sequence, and the milliseconds after which it begins no further step. */
const CALL_TOKENS = 32;
const CALL_BUDGET = 16;
/** Rows of prompts a step takes beside rows that decode. */
const PROMPT_ROWS = 32;

const NO_MEMORY = "ERR_NVIUM_OUT_OF_MEMORY";
const NO_WORK: NativeWork = { layerPasses: 0, layerRows: 0, weightBytes: 0 };

interface OpenSequence extends Sequence {
  closed: boolean;
  /** Calls there had been when it last took part in one. */
  used: number;
  asked: number;
}

interface Request {
  readonly sequence: OpenSequence;
  readonly ask: Ask;
  readonly abort: Int32Array<ArrayBuffer>;
  /** Requests before it. */
  readonly order: number;
  /** Calls there had been when it began to wait. */
  since: number;
  /** It has been in a call. */
  begun: boolean;
  remaining: number;
  /** Of calls that gave it no token yet. */
  work: NativeWork;
  resolve(answer: Answer): void;
  reject(reason: unknown): void;
}

/** A request in a call: what it was given. */
interface Part {
  readonly request: Request;
  readonly reservation: Reservation;
  readonly count: number;
}

export function createScheduler(
  native: NativeModel,
  segments: number,
  options: BlockMemoryOptions,
): Scheduler {
  const sequences = new Set<OpenSequence>();
  /** By `order`. */
  let waiting: Request[] = [];
  let running: readonly Request[] = [];
  /** Those of the last call who have asked for nothing since. */
  const silent = new Set<OpenSequence>();
  let requests = 0;
  let calls = 0;
  /** Those for which there was no memory when the last call was put together. */
  const parked = new Set<Request>();
  /** Requests a call takes: fewer where the device ran out of memory. */
  let most = MOST_SEQUENCES;
  let turn: NodeJS.Immediate | undefined;
  const ends: (() => void)[] = [];
  const idle = () => running.length === 0 && waiting.length === 0;
  const memory = createBlockMemory(native, options, {
    get busy() {
      return !idle();
    },
    get positions() {
      return Math.max(0, ...[...sequences].map(({ state }) => state.tokens.length));
    },
  });
  const { pools } = memory;

  return {
    memory,
    sequences,
    get idle() {
      return idle();
    },
    get waitingForMemory() {
      return parked.size;
    },

    open(options, state = createSequence(segments)) {
      const sequence = { ...options, state, closed: false, used: calls, asked: 0 };
      sequences.add(sequence);
      return sequence;
    },

    async close(open, salt) {
      const sequence = open as OpenSequence;
      if (!sequences.delete(sequence)) return;
      sequence.closed = true;
      silent.delete(sequence);
      const own = (request: Request) => request.sequence === sequence;
      for (const request of waiting.filter((other) => own(other) && !other.begun)) {
        leave(request);
        request.reject(disposed());
      }
      while (running.some(own) || waiting.some(own)) {
        await new Promise<void>((resolve) => ends.push(resolve));
      }
      if (salt !== undefined) memory.prefixes.keep(sequence.state, salt);
      release(sequence.state, pools);
      schedule(); // somebody may wait for these blocks
    },

    submit(open, ask) {
      const { signal } = ask;
      return new Promise<Answer>((resolve, reject) => {
        // Nothing of a call that failed outlives it: its memory has gone back before it is told.
        const told = (answer: Answer) =>
          answer.error === undefined
            ? resolve(answer)
            : void memory.trim().then(() => resolve(answer));
        const request = createRequest(open as OpenSequence, ask, told, reject);
        signal?.addEventListener("abort", request.onAbort, { once: true });
        waiting.push(request);
        silent.delete(request.sequence);
        schedule();
      });
    },

    runSync(open, ask) {
      let answer: Answer | undefined;
      let failure: { readonly reason: unknown } | undefined;
      const request = createRequest(
        open as OpenSequence,
        ask,
        (given) => {
          answer = given;
        },
        (reason) => {
          failure = { reason };
        },
      );
      while (answer === undefined && failure === undefined) {
        const parts = reserveFor([request]);
        if (parts.length > 0)
          book(
            parts,
            attempt(() => native.runSync(callOf(parts))),
          );
        else if (failure === undefined) makeRoomFor(request);
      }
      if (answer === undefined) throw failure?.reason;
      return answer;
    },
  };

  function createRequest(
    sequence: OpenSequence,
    ask: Ask,
    resolve: (answer: Answer) => void,
    reject: (reason: unknown) => void,
  ) {
    if (sequence.closed) throw disposed();
    ask.signal?.throwIfAborted();
    sequence.asked++;
    const settled = () => {
      sequence.asked--;
      ask.signal?.removeEventListener("abort", request.onAbort);
    };
    const request = {
      sequence,
      ask,
      abort: new Int32Array(1),
      order: requests++,
      since: calls,
      begun: false,
      remaining: 1,
      work: NO_WORK,
      resolve(answer: Answer) {
        settled();
        resolve(answer);
      },
      reject(reason: unknown) {
        settled();
        reject(reason);
      },
      onAbort() {
        Atomics.store(request.abort, 0, 1);
        if (leave(request)) request.reject(ask.signal?.reason);
      },
    };
    return request;
  }

  /** The request waits no longer; false where a call has it. */
  function leave(request: Request): boolean {
    if (running.includes(request)) return false;
    waiting = waiting.filter((other) => other !== request);
    parked.delete(request);
    // One that has not begun may wait behind another that has, whose row is under way.
    if (request.begun) settle(request.sequence.state, pools);
    ended();
    return true;
  }

  /** A call has ended, or a request that waited has: whoever closes a sequence looks again. */
  function ended(): void {
    for (const resolve of ends.splice(0)) resolve();
  }

  /**
   * Begins a call soon. Whoever asks in the same turn of the event loop takes part; those who have just been handed a token
   * have until the next turn to ask for another.
   */
  function schedule(): void {
    if (waiting.length === 0 || running.length > 0) return;
    if (silent.size === 0) void Promise.resolve().then(begin);
    else turn ??= setImmediate(begin);
  }

  function begin(): void {
    clearImmediate(turn);
    turn = undefined;
    if (running.length > 0) return;
    silent.clear();
    let parts: Part[] = [];
    while (waiting.length > 0 && parts.length === 0) {
      const chosen = choose();
      parts = reserveFor(chosen);
      const [oldest] = chosen.filter((request) => waiting.includes(request));
      if (parts.length === 0 && oldest !== undefined) makeRoomFor(oldest);
    }
    const [first] = parts;
    if (first === undefined) return;
    running = parts.map(({ request }) => request);
    waiting = waiting.filter((request) => !running.includes(request));
    const { alone } = first.request.ask;
    const call = callOf(parts);
    Promise.resolve(attempt(() => (alone === undefined ? native.run(call) : alone(call))))
      .catch(thrown)
      .then((result) => {
        running = [];
        waiting = [...book(parts, result), ...waiting].sort((a, b) => a.order - b.order);
        ended();
        schedule();
      });
  }

  /** Who takes part in the next call: one that goes alone, or all others; of each sequence its first request. */
  function choose(): Request[] {
    const seen = new Set<OpenSequence>();
    const firsts = waiting.filter(({ sequence }) => seen.size < seen.add(sequence).size);
    const longest = [...firsts].sort((a, b) => a.since - b.since || a.order - b.order);
    if (longest[0]?.ask.alone !== undefined) return longest.slice(0, 1);
    const together = longest.filter(({ ask }) => ask.alone === undefined).slice(0, most);
    return together.sort((a, b) => a.order - b.order);
  }

  /** What those are given who may go on, oldest first. A request that can never be fulfilled is rejected. */
  function reserveFor(chosen: readonly Request[]): Part[] {
    const parts: Part[] = [];
    parked.clear();
    for (const request of chosen) {
      const { sequence, ask } = request;
      const { state, maxTokens } = sequence;
      const length = state.tokens.length;
      try {
        if (ask.count > 0) requireStep(sequence);
        const count = Math.min(ask.count, CALL_TOKENS, maxTokens - length);
        for (const granted of new Set([count, Math.min(count, 1)])) {
          const end = length + Math.max(granted, 1) - 1;
          const reservation = memory.reserve(state, end, parked.size === 0);
          if (reservation === undefined) continue;
          parts.push({ request, reservation, count: granted });
          break;
        }
        if (parts.at(-1)?.request !== request) parked.add(request);
      } catch (reason) {
        leave(request);
        request.reject(reason);
      }
    }
    return parts;
  }

  /** Where nobody can go on: somebody gives way to this request, or it can never be fulfilled. */
  function makeRoomFor(request: Request): void {
    const { sequence } = request;
    const needed = memory.needed(sequence.state, sequence.state.tokens.length);
    const holders = [...sequences].filter(
      (other) => other !== sequence && (other.state.frontiers[0] ?? 0) > 0,
    );
    const idle = holders.filter(({ asked }) => asked === 0).sort((a, b) => a.used - b.used);
    const youngest = waiting.filter((other) => holders.includes(other.sequence)).at(-1);
    const victim = idle[0] ?? youngest?.sequence;
    if (victim === undefined || needed > memory.limit) {
      leave(request);
      request.reject(
        new NviumError(
          NO_MEMORY,
          `The call needs ${needed} bytes of blocks, and cacheBytes allows ${memory.limit}.`,
          { needed, limit: memory.limit },
        ),
      );
      return;
    }
    evict(victim.state, pools);
    for (const other of waiting) if (other.sequence === victim) other.remaining = 1;
  }

  function callOf(parts: readonly Part[]): NativeCall {
    calls++;
    return {
      requests: parts.map(({ request, reservation, count }) => {
        request.begun = true;
        const { sequence, ask, abort, remaining } = request;
        const { state, seed, stream, maxTokens, maxPending } = sequence;
        return {
          ...describe(state, reservation, seed, stream),
          law: ask.law,
          maxPending,
          force: ask.force,
          count,
          capacity: maxTokens,
          stopTokens: ask.stopTokens,
          abort,
          remaining,
        };
      }),
      cacheBlocks: pools.cache.size,
      boundaryBlocks: pools.boundary.size,
      promptRows: PROMPT_ROWS,
      budget: CALL_BUDGET,
    };
  }

  /** Books what a call did and hands it back. Returns the requests that go on. */
  function book(parts: readonly Part[], result: NativeResult | Thrown): Request[] {
    const failure = "reason" in result ? null : result.error;
    const outcomes = "reason" in result ? [] : result.requests;
    const noMemory = [failure, ...outcomes.map(({ error }) => error)].some(
      (error) => error?.code === NO_MEMORY,
    );
    // What the device refused among others it may have alone, or in place of prefixes.
    const again = noMemory && (parts.length > 1 || memory.prefixes.drop());
    most = again ? Math.max(1, Math.floor(parts.length / 2)) : MOST_SEQUENCES;
    const going: Request[] = [];
    parts.forEach(({ request, reservation }, i) => {
      const { sequence } = request;
      const { state } = sequence;
      sequence.used = calls;
      const outcome = outcomes[i];
      commit(state, pools, reservation, outcome ? Array.from(outcome.frontiers) : state.frontiers);
      if (outcome === undefined) {
        settle(state, pools);
        request.reject("reason" in result ? fromNative(result.reason) : noOutcome());
        return;
      }
      const { stop } = outcome;
      const steps = append(state, outcome.steps);
      const [first] = steps;
      const work = first === undefined ? sum(request.work, outcome.work) : outcome.work;
      const cause = outcome.error ?? failure;
      const goesOn = stop === "deadline" || (again && cause !== null && cause.code === NO_MEMORY);
      if (first === undefined && goesOn && request.abort[0] === 0) {
        going.push(Object.assign(request, { work, remaining: outcome.remaining, since: calls }));
        return;
      }
      settle(state, pools);
      if (first !== undefined) steps[0] = { ...first, work: sum(request.work, first.work) };
      silent.add(sequence);
      const error = errorOf(request, outcome, failure);
      request.resolve({ steps, work, stop, ...(error === undefined ? {} : { error }) });
    });
    return going;
  }
}

interface Thrown {
  readonly reason: unknown;
}

const thrown = (reason: unknown): Thrown => ({ reason });

function attempt<T>(call: () => T): T | Thrown {
  try {
    return call();
  } catch (reason) {
    return thrown(reason);
  }
}

function noOutcome(): NviumError {
  return new NviumError("ERR_NVIUM_INTERNAL", "A native call returned no sequence.");
}

/** Why a request ended in an error, if it did. */
function errorOf(
  { ask: { signal }, abort }: Request,
  { stop, error }: NativeOutcome,
  failure: NativeFailure | null,
): unknown {
  if (stop === "aborted" || (stop === "deadline" && abort[0] !== 0)) {
    if (signal?.aborted) return signal.reason;
    return new NviumError("ERR_NVIUM_INTERNAL", "Aborted without a signal.");
  }
  const cause = error ?? (stop === "failed" || stop === "none" ? failure : null);
  return cause === null ? undefined : fromNative(cause, signal);
}

/** Appends the tokens of a call, and says what is known of each. */
function append(state: SequenceState, numbers: Float64Array): DrawnStep[] {
  const steps: DrawnStep[] = [];
  for (let i = 0; i < numbers.length; i += STEP_FIELDS) {
    const field = (n: number) => numbers[i + n] ?? 0;
    steps.push({
      position: state.tokens.length,
      token: field(0),
      drawn: field(1),
      exit: field(2),
      layersRun: field(3),
      pending: field(4),
      work: { layerPasses: field(5), layerRows: field(6), weightBytes: field(7) },
    });
    state.tokens.push(field(0));
    state.generated.push(1);
  }
  return steps;
}

export function sum(a: NativeWork, b: NativeWork): NativeWork {
  return {
    layerPasses: a.layerPasses + b.layerPasses,
    layerRows: a.layerRows + b.layerRows,
    weightBytes: a.weightBytes + b.weightBytes,
  };
}

/** A step needs a token to go on from, and room for one. */
function requireStep({ state, maxTokens }: Sequence): void {
  if (state.tokens.length === 0) {
    throw new NviumError(
      "ERR_NVIUM_EMPTY",
      "The session holds no token: append one before the first step.",
    );
  }
  requireRoom(state, maxTokens, 1);
}

/** Throws ERR_NVIUM_CONTEXT_FULL where `more` tokens do not fit. */
export function requireRoom(state: SequenceState, maxTokens: number, more: number): void {
  const needed = state.tokens.length + more;
  if (needed <= maxTokens) return;
  throw new NviumError(
    "ERR_NVIUM_CONTEXT_FULL",
    `The sequence would hold ${needed} tokens; its limit is ${maxTokens}.`,
    { limit: maxTokens, needed },
  );
}

export function disposed(): NviumError {
  return new NviumError("ERR_NVIUM_DISPOSED", "The session was disposed.");
}
