/** The safetensors container: 8 bytes of length, a JSON header, the tensors one behind the other. */
import { closeSync, openSync, renameSync, writeSync } from "node:fs";

/**
 * @typedef {object} Tensor
 * @property {string} name
 * @property {readonly number[]} shape
 * @property {(file: number) => void} write appends the tensor's bf16 values
 */

/** @param {string} path @param {readonly Tensor[]} tensors */
export function writeSafetensors(path, tensors) {
  let end = 0;
  const entries = tensors.map(({ name, shape }) => {
    const begin = end;
    end += shape.reduce((product, n) => product * n, 2);
    return [name, { dtype: "BF16", shape, data_offsets: [begin, end] }];
  });
  const json = JSON.stringify(Object.fromEntries(entries));
  const header = Buffer.from(json.padEnd(Math.ceil(json.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = openSync(`${path}.part`, "w");
  try {
    writeSync(file, length);
    writeSync(file, header);
    for (const tensor of tensors) tensor.write(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.part`, path);
}
