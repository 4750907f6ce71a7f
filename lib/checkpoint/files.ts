/** Reading files that nobody vouches for: regular files only, opened read-only, never more than asked for. */

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { codeOf, messageOf, NviumError } from "../errors.js";
import { malformed } from "./failure.js";

export interface OpenFile {
  readonly path: string;
  /** In bytes, when it was opened. */
  readonly size: number;
  /** Exactly `length` bytes from `offset`; an error when the file ends before. */
  read(offset: number, length: number): Promise<Buffer>;
}

/** Opens `path`, hands it to `use`, and closes it whatever happens. Null when there is no such file. */
export async function withFile<T>(
  path: string,
  use: (file: OpenFile) => Promise<T>,
): Promise<T | null> {
  const handle = await openIfPresent(path);
  if (handle === null) return null;
  try {
    const status = await system(path, handle.stat());
    if (!status.isFile()) throw malformed(path, "is not a regular file");
    return await use({
      path,
      size: status.size,
      read: (offset, length) => readExactly(handle, path, offset, length),
    });
  } finally {
    await system(path, handle.close());
  }
}

/** The whole of a small file; null when there is no such file. `limit` is in bytes. */
export function readSmall(path: string, limit: number): Promise<Buffer | null> {
  return withFile(path, (file) => {
    if (file.size > limit) {
      throw malformed(path, `has ${file.size} bytes, expected at most ${limit}`, {
        expected: limit,
        actual: file.size,
      });
    }
    return file.read(0, file.size);
  });
}

async function openIfPresent(path: string): Promise<FileHandle | null> {
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
    return await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    const code = codeOf(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw ioError(path, cause);
  }
}

async function readExactly(handle: FileHandle, path: string, offset: number, length: number) {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const step = handle.read(bytes, filled, length - filled, offset + filled);
    const { bytesRead } = await system(path, step);
    if (bytesRead === 0) {
      throw malformed(path, `ends at byte ${offset + filled}, expected ${offset + length} bytes`);
    }
    filled += bytesRead;
  }
  return bytes;
}

/** Awaits a system call, turning its failure into `ERR_NVIUM_IO`. */
async function system<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw ioError(path, cause);
  }
}

function ioError(path: string, cause: unknown): NviumError {
  const reason = messageOf(cause);
  return new NviumError(
    "ERR_NVIUM_IO",
    `${path}: cannot be read (${reason}).`,
    { file: path },
    cause,
  );
}
