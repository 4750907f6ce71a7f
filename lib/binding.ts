/** Finds and loads the native addon: the file that NVIUM_BINDING names, else what was built here, else what came prebuilt. */
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { codeOf, messageOf, NviumError } from "./errors.js";

/** Throws ERR_NVIUM_BINDING, which says what stood in the way before it speaks of building. */
export function loadBinding(): unknown {
  const explicit = process.env.NVIUM_BINDING;
  const url = ownUrl(import.meta.url);
  const require = createRequire(url);
  const files =
    explicit === undefined
      ? candidates(dirname(dirname(fileURLToPath(url))))
      : [fromHere(explicit)];
  for (const file of files) {
    try {
      return require(file);
    } catch (cause) {
      if (codeOf(cause) === "MODULE_NOT_FOUND") continue;
      throw failure(forbidden(cause) ?? `${file}: ${messageOf(cause)}. ${BUILD}`, file, cause);
    }
  }
  const tried = files.join(", ");
  if (explicit !== undefined) {
    throw failure(`NVIUM_BINDING names a file that is not there, ${tried}.`, tried);
  }
  throw failure(
    `There is no file ${files.join(" nor ")}. In a bundle, leave nvium out of it (its name among what is \`external\`). ${BUILD}`,
    tried,
  );
}

/**
 * `import.meta.url` of a module. It is undefined where a bundler made CommonJS of the module, which then cannot find what
 * belongs to it: throws ERR_NVIUM_BINDING.
 */
export function ownUrl(url: string | undefined): string {
  if (url !== undefined) return url;
  throw failure(
    "It is part of a bundle in CommonJS, where a module does not know its own place (import.meta.url). Leave nvium out of the " +
      "bundle, for instance by --external:nvium, or make the bundle an ES module beside the package.",
    "",
  );
}

const TARGET = `${process.platform}-${process.arch}`;

const BUILD =
  "Where no prebuilt addon fits, allow the install script and build it: `npm approve-scripts nvium && npm rebuild nvium` " +
  "(needs g++ with C++20, make and python3).";

function candidates(root: string): string[] {
  return [
    join(root, "build", "Release", "nvium.node"),
    join(root, "prebuilds", TARGET, "nvium.glibc.node"),
  ];
}

/** A path of the caller's, from the working directory on. */
function fromHere(path: string): string {
  try {
    return resolve(path);
  } catch (cause) {
    throw failure(
      "NVIUM_BINDING is relative to the working directory, which is gone.",
      path,
      cause,
    );
  }
}

/** What of this process forbids loading an addon, where that is why it failed. */
export function forbidden(cause: unknown): string | undefined {
  switch (codeOf(cause)) {
    case "ERR_DLOPEN_DISABLED":
      return "Native addons are disabled in this process: by --no-addons, or by --permission without --allow-addons.";
    case "ERR_ACCESS_DENIED": {
      const { resource = "a file" } = cause as { readonly resource?: string };
      return `This process may not read ${resource}: --permission lacks --allow-fs-read for it.`;
    }
    default:
      return undefined;
  }
}

function failure(why: string, tried: string, cause?: unknown): NviumError {
  return new NviumError(
    "ERR_NVIUM_BINDING",
    `The native addon of nvium could not be loaded for ${TARGET} on Node ${process.versions.node}. ${why}`,
    { target: TARGET, tried },
    cause,
  );
}
