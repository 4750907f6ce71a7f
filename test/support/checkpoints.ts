/** Checkpoints spoilt on purpose: copies of a fixture with bytes of a tensor changed. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixture } from "./expected.js";

export interface Copy {
  readonly directory: string;
  readonly file: string;
  /** Changes a tensor's bytes in the file. */
  edit(tensor: string, change: (bytes: Buffer) => void): void;
  remove(): void;
}

export function copyFixture(name: string): Copy {
  const directory = mkdtempSync(join(tmpdir(), "nvium-test-"));
  cpSync(fixture(name), directory, { recursive: true });
  const file = join(directory, "model.safetensors");
  return {
    directory,
    file,
    edit(tensor, change) {
      const data = readFileSync(file);
      const length = Number(data.readBigUInt64LE(0));
      const header = JSON.parse(data.toString("utf8", 8, 8 + length)) as Record<
        string,
        { data_offsets: [number, number] }
      >;
      const entry = header[tensor];
      if (entry === undefined) throw new RangeError(`${name} has no tensor ${tensor}`);
      const [begin, end] = entry.data_offsets;
      change(data.subarray(8 + length + begin, 8 + length + end));
      writeFileSync(file, data);
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
