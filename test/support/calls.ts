/** Native calls of a model, seen, changed or held by a test. */
import type { Model } from "../../lib/model.js";
import type { NativeCall, NativeModel, NativeResult } from "../../lib/native.js";

export interface Calls {
  readonly made: readonly { readonly call: NativeCall; readonly result: NativeResult }[];
  /** Before each call. */
  before: (call: NativeCall) => void;
  /** Changes calls: a budget of 0 is one step a call, whatever the machine. */
  change: (call: NativeCall) => NativeCall;
  /** Calls for which the device has no memory, whatever it says. */
  refuse: (call: NativeCall) => boolean;
  /** Results of calls stay away until it is called with false. */
  hold(holding?: boolean): void;
  /** Resolves when a call is held. */
  held(): Promise<void>;
}

export function watchCalls(model: Model): Calls {
  const { native } = model.core;
  const run = native.run.bind(native);
  const made: { call: NativeCall; result: NativeResult }[] = [];
  let gate: { readonly opened: Promise<void>; open(): void } | undefined;
  let arrived: (() => void)[] = [];
  const calls: Calls = {
    made,
    before: () => undefined,
    change: (call) => call,
    refuse: () => false,
    hold(holding = true) {
      gate?.open();
      gate = holding ? createGate() : undefined;
    },
    held: () => new Promise((resolve) => arrived.push(resolve)),
  };
  const watched: NativeModel["run"] = async (given) => {
    calls.before(given);
    const call = calls.change(given);
    const result = calls.refuse(call) ? refused(call) : await run(call);
    made.push({ call, result });
    if (gate !== undefined) {
      for (const resolve of arrived) resolve();
      arrived = [];
      await gate.opened;
    }
    return result;
  };
  Object.defineProperty(native, "run", { value: watched });
  return calls;
}

function refused({ requests }: NativeCall): NativeResult {
  const work = { layerPasses: 0, layerRows: 0, weightBytes: 0 };
  const code = "ERR_NVIUM_OUT_OF_MEMORY";
  return {
    requests: requests.map(({ frontiers }) => ({
      stop: "failed",
      frontiers,
      remaining: 1,
      steps: new Float64Array(),
      work,
      error: null,
    })),
    error: { aborted: false, code, message: "No memory, says the test.", details: {} },
  };
}

function createGate() {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
