/** Where a tokenizer lives: on a thread of its own, or on this one where the process may have no threads. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { ownUrl } from "../binding.js";
import { NviumError } from "../errors.js";
import { type Encoder, type EncoderInfo, type EncoderSource, openEncoder } from "./encoder.js";
import { createLanes } from "./lanes.js";
import type { Failure, FromThread, ToThread } from "./messages.js";

export interface HostedEncoder extends Encoder {
  /** Frees the memory; what is being encoded is rejected, and encoding from now on, with ERR_NVIUM_DISPOSED. */
  dispose(): Promise<void>;
  /** The same once nothing is being encoded, for a tokenizer that nobody can ask any more. */
  abandon(): void;
}

/**
 * Opens a tokenizer off the JavaScript thread. Rejects with ERR_NVIUM_TOKENIZER, ERR_NVIUM_BINDING or the signal's
 * reason; nothing stays behind then.
 */
export async function hostEncoder(
  source: EncoderSource,
  signal?: AbortSignal,
): Promise<HostedEncoder> {
  signal?.throwIfAborted();
  const worker = startWorker();
  if (worker === null) return onThisThread(source);
  try {
    const info = await opened(worker, source, signal);
    return onWorker(worker, info);
  } catch (error) {
    await worker.terminate();
    throw error;
  }
}

/** Null where there can be none: forbidden by --permission, or the thread's file is not beside this one, as in a bundle. */
function startWorker(): Worker | null {
  const file = new URL("./thread.js", ownUrl(import.meta.url));
  if (file.protocol !== "file:" || !existsSync(fileURLToPath(file))) return null;
  try {
    // Flags of this process, such as --input-type, need not suit a file.
    return new Worker(file, { name: "nvium-tokenizer", execArgv: [] });
  } catch {
    return null;
  }
}

function onThisThread(source: EncoderSource): HostedEncoder {
  let encoder: Encoder | null = openEncoder(source);
  const encode = createLanes(encoder.encode);
  return {
    info: encoder.info,
    async encode(text, addSpecialTokens) {
      if (encoder === null) throw disposed();
      return encode(text, addSpecialTokens);
    },
    async dispose() {
      encoder = null;
    },
    abandon() {
      encoder = null;
    },
  };
}

function opened(
  worker: Worker,
  source: EncoderSource,
  signal: AbortSignal | undefined,
): Promise<EncoderInfo> {
  return new Promise((resolve, reject) => {
    const onAbort = () => settle(() => reject(signal?.reason));
    const onError = (cause: unknown) => settle(() => reject(died(cause)));
    const onMessage = (message: FromThread) =>
      settle(() => {
        if ("info" in message) resolve(message.info);
        else if ("failure" in message) reject(errorOf(message.failure));
      });
    const settle = (then: () => void) => {
      signal?.removeEventListener("abort", onAbort);
      worker.off("error", onError).off("message", onMessage);
      then();
    };
    signal?.addEventListener("abort", onAbort);
    worker.on("error", onError).on("message", onMessage);
    worker.postMessage(source);
  });
}

interface Waiting {
  resolve(tokens: Uint32Array<ArrayBuffer>): void;
  reject(error: unknown): void;
}

function onWorker(worker: Worker, info: EncoderInfo): HostedEncoder {
  const waiting = new Map<number, Waiting>();
  let next = 0;
  let end: (() => NviumError) | null = null;
  let abandoned = false;
  /** A process stays for a text that is being encoded, not for a tokenizer that has nothing to do. */
  const settle = (id: number): Waiting | undefined => {
    const call = waiting.get(id);
    waiting.delete(id);
    if (waiting.size === 0) worker.unref();
    if (waiting.size === 0 && abandoned) void worker.terminate();
    return call;
  };
  const endWith = (error: () => NviumError) => {
    end ??= error;
    for (const id of [...waiting.keys()]) settle(id)?.reject(error());
  };
  worker.on("message", (message: FromThread) => {
    if (!("id" in message) || message.id === undefined) return;
    const call = settle(message.id);
    if ("tokens" in message) call?.resolve(message.tokens);
    else call?.reject(errorOf(message.failure));
  });
  worker.on("error", (cause) => endWith(() => died(cause)));
  worker.on("exit", () => endWith(() => died(undefined)));
  // Behind the listeners: one for messages holds the process.
  worker.unref();
  return {
    info,
    encode(text, addSpecialTokens) {
      return new Promise((resolve, reject) => {
        if (end !== null) throw end();
        const id = next++;
        waiting.set(id, { resolve, reject });
        worker.ref();
        worker.postMessage({ id, text, addSpecialTokens } satisfies ToThread);
      });
    },
    async dispose() {
      endWith(disposed);
      await worker.terminate();
    },
    abandon() {
      abandoned = true;
      if (waiting.size === 0) void worker.terminate();
    },
  };
}

function errorOf({ code, message, details, cause }: Failure): NviumError {
  return new NviumError(code, message, details, cause === undefined ? undefined : new Error(cause));
}

function disposed(): NviumError {
  return new NviumError("ERR_NVIUM_DISPOSED", "The tokenizer was disposed.");
}

function died(cause: unknown): NviumError {
  const message = "The tokenizer's thread ended unexpectedly.";
  return new NviumError("ERR_NVIUM_INTERNAL", message, {}, cause);
}
