/** Long texts one at a time, short ones at once: files and names are looked up in the same pool of threads. */
import type { Encoder } from "./encoder.js";

/** Characters; such a text takes some 10 ms. */
const SHORT = 1 << 14;

export function createLanes(encode: Encoder["encode"]): Encoder["encode"] {
  let last: Promise<unknown> = Promise.resolve();
  return (text, addSpecialTokens) => {
    if (text.length <= SHORT) return encode(text, addSpecialTokens);
    const result = last.then(() => encode(text, addSpecialTokens));
    last = result.catch(() => undefined);
    return result;
  };
}
