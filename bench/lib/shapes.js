/** The models the benchmarks run. bench/native/shapes.h has the same ones. */

/**
 * @typedef {object} Shape
 * @property {string} name
 * @property {number} layers
 * @property {number} hidden
 * @property {number} ffn
 * @property {number} heads
 * @property {number} headDim
 * @property {number} vocab
 * @property {boolean} exits at 1/4, 1/2 and 3/4 of the layers, with adapters and routers
 * @property {readonly number[]} shares of the tokens that leave at exit 1 … 4
 */

/** Like those of the paper. */
export const PAPER_SHARES = [0.35, 0.15, 0.1, 0.4];

export const SHARE_SETS = {
  "all deep": [0, 0, 0, 1],
  deep: [0.1, 0.1, 0.1, 0.7],
  "as in the paper": PAPER_SHARES,
  shallow: [0.6, 0.2, 0.1, 0.1],
  "all shallow": [1, 0, 0, 0],
};

const SIZES = {
  S: { layers: 24, hidden: 768, ffn: 2048, heads: 12, headDim: 64, vocab: 32000 },
  M: { layers: 24, hidden: 1536, ffn: 4096, heads: 24, headDim: 64, vocab: 32000 },
  XL: { layers: 48, hidden: 1536, ffn: 4096, heads: 12, headDim: 128, vocab: 32000 },
};

/** @param {number} hidden @param {number} part */
const inner = (hidden, part) => Math.floor((hidden * part) / 3);

/** Parameters that three exits and the final adapter add. @param {number} d */
function exitParameters(d) {
  const router = 2 * d * inner(d, 2);
  return 3 * router + 4 * 2 * d * d;
}

/**
 * `S`, `M`, `XL` with exits; `-dense`: their twins without, whose wider ffn makes up for the parameters; `-plain`: the layers alone.
 * @param {string} name @param {readonly number[]} [shares] @returns {Shape}
 */
export function shape(name, shares = PAPER_SHARES) {
  const [size, kind] = name.split("-");
  const base = SIZES[size];
  if (base === undefined || ![undefined, "dense", "plain"].includes(kind)) {
    throw new RangeError(`There is no shape ${name}.`);
  }
  const wider = Math.round(exitParameters(base.hidden) / (base.layers * 3 * base.hidden) / 64) * 64;
  const ffn = kind === "dense" ? base.ffn + wider : base.ffn;
  return { ...base, ffn, name, exits: kind === undefined, shares };
}
