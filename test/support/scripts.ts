/** Sessions that remember what was asked of them and what they drew, and a plain model that draws it again. */
import { expect } from "vitest";
import type { DecodeOptions, Model, SamplingOptions, Session, Step } from "../../lib/index.js";
import type { SessionOptions } from "../../lib/session.js";

/** Ways of drawing, so that calls mix laws. */
export const MANNERS: readonly SamplingOptions[] = [
  {},
  { temperature: 0.7, topK: 5 },
  { router: "greedy" },
  { greedy: true, routerTemperature: 1.5 },
];

export type Manner = number;

type Event =
  | { readonly append: readonly number[] }
  | { readonly truncate: number; readonly stream: number }
  | {
      readonly manner: Manner;
      readonly position: number;
      readonly token: number;
      readonly exit: number;
    };

/** A session, and what has become of it. */
export interface Recorded {
  readonly session: Session;
  readonly events: readonly Event[];
  /** Tokens handed out by this session; a fork begins anew. */
  readonly handedOut: number;
  append(tokens: readonly number[]): void;
  step(manner: Manner, options?: { readonly signal?: AbortSignal }): Promise<void>;
  stepSync(manner: Manner): void;
  /** Takes `leave` of `count` tokens. */
  decode(count: number, manner: Manner, leave?: number, options?: DecodeOptions): Promise<void>;
  truncate(length: number, stream?: number): void;
  fork(stream?: number): Recorded;
}

export function record(model: Model, options: SessionOptions): Recorded {
  return recorded(model.createSession(options), []);
}

function recorded(session: Session, events: Event[]): Recorded {
  let handedOut = 0;
  const drew = (manner: Manner, { position, token, exit }: Step) => {
    events.push({ manner, position, token, exit });
    handedOut++;
  };
  return {
    session,
    events,
    get handedOut() {
      return handedOut;
    },
    append(tokens) {
      session.append(tokens);
      events.push({ append: tokens });
    },
    async step(manner, options) {
      drew(manner, await session.step({ ...MANNERS[manner], ...options }));
    },
    stepSync(manner) {
      drew(manner, session.stepSync(MANNERS[manner]));
    },
    async decode(count, manner, leave = count, options = {}) {
      let left = leave;
      if (left === 0) return;
      for await (const step of session.decode(count, { ...MANNERS[manner], ...options })) {
        drew(manner, step);
        if (--left === 0) return;
      }
    },
    truncate(length, stream = session.stream) {
      session.truncate(length, { stream });
      events.push({ truncate: length, stream });
    },
    fork(stream = session.stream) {
      const other = session.fork({ stream });
      return recorded(other, [...events, { truncate: session.length, stream }]);
    },
  };
}

/** Draws all of it again: one session alone on a model that keeps nothing, one step at a time, nothing deferred. */
export async function expectAlone(plain: Model, given: Recorded, seed: number): Promise<void> {
  const alone = plain.createSession({ seed, maxPending: 0 });
  for (const event of given.events) {
    if ("append" in event) alone.append(event.append);
    else if ("truncate" in event) alone.truncate(event.truncate, { stream: event.stream });
    else {
      const { position, token, exit } = alone.stepSync(MANNERS[event.manner]);
      expect({ ...event, position, token, exit }).toEqual(event);
    }
  }
  await alone.dispose();
}
