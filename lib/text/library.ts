/**
 * The Rust library `tokenizers`, by whose rules every model's tokens were made, as a Node-API addon. The parts in use are
 * written out here: the package's own declarations do not parse under TypeScript.
 */
import { createRequire } from "node:module";
import { forbidden, ownUrl } from "../binding.js";
import { messageOf, NviumError } from "../errors.js";

export const LIBRARY = "@anush008/tokenizers";

export interface RustEncoding {
  getIds(): number[];
}

export interface RustTokenizer {
  /** Works in libuv's pool. */
  encode(
    text: string,
    pair: null,
    options: { readonly addSpecialTokens: boolean },
  ): Promise<RustEncoding>;
  addAddedTokens(tokens: readonly object[]): number;
  tokenToId(token: string): number | null;
  disableTruncation(): void;
  disablePadding(): void;
  getDecoder(): RustDecoder | null;
}

/** A `decoder` of tokenizer.json. */
export interface RustDecoder {
  decode(pieces: readonly string[]): string;
}

export interface RustLibrary {
  readonly Tokenizer: { fromString(json: string): RustTokenizer };
  readonly AddedToken: new (
    content: string,
    special: boolean,
    options: {
      readonly singleWord: boolean;
      readonly leftStrip: boolean;
      readonly rightStrip: boolean;
      readonly normalized: boolean;
    },
  ) => object;
}

let library: RustLibrary | undefined;

/** Loaded when first used: a program that never touches text does not pay for it. Throws ERR_NVIUM_BINDING. */
export function loadLibrary(): RustLibrary {
  if (library !== undefined) return library;
  const require = createRequire(ownUrl(import.meta.url));
  try {
    library = require(LIBRARY) as RustLibrary;
    return library;
  } catch (cause) {
    const target = `${process.platform}-${process.arch}`;
    const why =
      forbidden(cause) ??
      `${messageOf(cause)}. Its addon is an optional dependency; install without --omit=optional, and leave the package out of bundles.`;
    throw new NviumError(
      "ERR_NVIUM_BINDING",
      `${LIBRARY}, which encodes text, could not be loaded for ${target} on Node ${process.versions.node}: ${why}`,
      { target, tried: LIBRARY },
      cause,
    );
  }
}
