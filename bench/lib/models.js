/** Models of the benchmarks through the public API. */
import { loadModel } from "../../dist/index.js";
import { checkpoint } from "../checkpoint.js";
import { timed } from "./stats.js";

/** @typedef {import("../../dist/index.js").Model} Model */
/** @typedef {import("../../dist/index.js").Session} Session */

/** @param {string} name of a shape @param {number} threads @param {readonly number[]} [shares] */
export const open = (name, threads, shares) =>
  loadModel(checkpoint(name, shares), { device: "cpu", threads, prefixShare: 0 });

/** Opens models, hands them to `work`, and disposes them whatever happens. @template T @param {readonly Promise<Model>[]} opening @param {(...models: Model[]) => Promise<T>} work */
export async function withModels(opening, work) {
  const models = await Promise.all(opening);
  try {
    return await work(...models);
  } finally {
    await Promise.all(models.map((model) => model.dispose()));
  }
}

/** A session whose prompt has been through every layer. @param {Model} model @param {readonly number[]} tokens @param {import("../../dist/index.js").SessionOptions} [options] */
export async function prompted(model, tokens, options) {
  const session = model.createSession(options);
  session.append(tokens);
  const { seconds } = await timed(() => session.flush());
  return { session, seconds };
}

/** Decodes and says how long it took and how many bytes of weights were read. @param {Session} session @param {number} count */
export async function decode(session, count) {
  const before = session.stats().weightBytes;
  const { seconds } = await timed(async () => {
    for await (const _ of session.decode(count));
  });
  return { seconds, bytes: session.stats().weightBytes - before, tokens: count };
}
