/** Where a checkpoint is, as callers may say it. */
import { stat } from "node:fs/promises";
import { resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { codeOf, messageOf, NviumError } from "../errors.js";

/** The absolute path of a directory given by its path or its `file:` URL. Throws ERR_NVIUM_INVALID_ARG, ERR_NVIUM_IO. */
export function directoryPath(directory: unknown): string {
  const path = isUrl(directory) ? fromUrl(directory.href) : directory;
  if (typeof path !== "string" || path === "" || path.includes("\0")) throw notPath(directory);
  if (/^(file:|[a-z][a-z\d+.-]+:\/\/)/i.test(path)) return fromUrl(path);
  try {
    return resolve(path);
  } catch (cause) {
    const message = `${path} is relative to the working directory, which is gone.`;
    throw new NviumError("ERR_NVIUM_IO", message, { file: path }, cause);
  }
}

/** A URL may come from another realm. */
function isUrl(value: unknown): value is { readonly href: string } {
  return typeof value === "object" && value !== null && typeof (value as URL).href === "string";
}

function fromUrl(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw notPath(url, cause);
  }
}

function notPath(actual: unknown, cause?: unknown): NviumError {
  const given = typeof actual === "string" ? `, not ${JSON.stringify(actual)}` : "";
  return new NviumError(
    "ERR_NVIUM_INVALID_ARG",
    `directory must be a path or a file: URL${given}.`,
    { argument: "directory", expected: "a path or a file: URL", actual },
    cause,
  );
}

/** Rejects with ERR_NVIUM_IO where there is no directory of this path. */
export async function requireDirectory(path: string): Promise<void> {
  const status = await stat(path).catch((cause: unknown) => {
    throw new NviumError("ERR_NVIUM_IO", `${path}: ${missing(path, cause)}`, { file: path }, cause);
  });
  if (!status.isDirectory()) {
    throw new NviumError("ERR_NVIUM_IO", `${path}: is not a directory.`, { file: path });
  }
}

function missing(path: string, cause: unknown): string {
  if (codeOf(cause) !== "ENOENT") return `cannot be opened (${messageOf(cause)}).`;
  const home = path.split(sep).includes("~")
    ? ' "~" is the home directory for a shell only: use os.homedir().'
    : "";
  return `there is no such directory.${home}`;
}
