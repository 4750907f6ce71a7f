/** A thread that holds one tokenizer: the first message is its source, those that follow are texts. See host.ts. */
import { type MessagePort, parentPort } from "node:worker_threads";
import { messageOf, NviumError } from "../errors.js";
import { type Encoder, type EncoderSource, openEncoder } from "./encoder.js";
import { createLanes } from "./lanes.js";
import type { Failure, FromThread, ToThread } from "./messages.js";

const port = parentPort as MessagePort;
const send = (message: FromThread, transfer: readonly ArrayBuffer[] = []) =>
  port.postMessage(message, transfer);

port.once("message", (source: EncoderSource) => {
  let encoder: Encoder;
  try {
    encoder = openEncoder(source);
  } catch (error) {
    send({ failure: failureOf(error) });
    return;
  }
  const { pieces } = encoder.info;
  send({ info: encoder.info }, [pieces.bytes.buffer, pieces.ranges.buffer]);
  const encode = createLanes(encoder.encode);
  port.on("message", async ({ id, text, addSpecialTokens }: ToThread) => {
    try {
      const tokens = await encode(text, addSpecialTokens);
      send({ id, tokens }, [tokens.buffer]);
    } catch (error) {
      send({ id, failure: failureOf(error) });
    }
  });
});

/** Classes and codes of errors do not survive the way to another thread. */
function failureOf(error: unknown): Failure {
  if (error instanceof NviumError) {
    const { code, message, details, cause } = error;
    return { code, message, details, cause: cause === undefined ? undefined : messageOf(cause) };
  }
  return { code: "ERR_NVIUM_INTERNAL", message: String(error), details: {}, cause: undefined };
}
