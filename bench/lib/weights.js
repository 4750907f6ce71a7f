/** Weights that cost nothing to make: bf16 of mixed sign, small enough that activations stay finite. */
import { writeSync } from "node:fs";

const TABLE = 1 << 16;
const CHUNK = 1 << 22;

/** A bf16 number's bits, rounded to the nearest. @param {number} value */
export function bf16(value) {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Uniform numbers in [-0.05, 0.05), the same in every run; long enough that a row may begin anywhere. */
function makeTable(cols) {
  const table = new Uint16Array(TABLE + cols);
  let state = 1;
  for (let i = 0; i < TABLE; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    table[i] = bf16((state / 2 ** 32 - 0.5) * 0.1);
  }
  for (let i = TABLE; i < table.length; i++) table[i] = table[i - TABLE] ?? 0;
  return table;
}

const table = makeTable(1 << 15);
const ONE = bf16(1);

/**
 * Appends a matrix to an open file. Each row begins elsewhere in one table of numbers.
 * @param {number} file @param {number} rows @param {number} cols @param {number} salt differs between matrices
 */
export function writeMatrix(file, rows, cols, salt) {
  const perChunk = Math.max(1, Math.floor(CHUNK / cols));
  const chunk = new Uint16Array(perChunk * cols);
  for (let first = 0; first < rows; first += perChunk) {
    const count = Math.min(perChunk, rows - first);
    for (let r = 0; r < count; r++) {
      const begin = (Math.imul(first + r, 2654435761 | 0) + salt * 977) >>> 16;
      chunk.set(table.subarray(begin, begin + cols), r * cols);
    }
    writeSync(file, new Uint8Array(chunk.buffer, 0, count * cols * 2));
  }
}

/** @param {number} file @param {number} count */
export function writeOnes(file, count) {
  writeSync(file, new Uint8Array(new Uint16Array(count).fill(ONE).buffer));
}
