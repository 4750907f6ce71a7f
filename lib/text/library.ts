/**
 * The parts of `@huggingface/tokenizers` in use. They are written out because the package's own declarations import
 * without file names, which `moduleResolution: nodenext` quietly turns into `any`.
 */

export interface LibraryDecoder {
  /** The decoder's entry in tokenizer.json, unchecked. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The members of a `Sequence`. */
  readonly decoders?: readonly LibraryDecoder[];
  decode_chain(pieces: string[]): string[];
}

export interface LibraryTokenizer {
  readonly decoder: LibraryDecoder | null;
  encode(
    text: string,
    options: { add_special_tokens: boolean },
  ): { readonly ids: (number | undefined)[]; readonly tokens: string[] };
}

interface Library {
  readonly Tokenizer: new (tokenizer: object, config: object) => LibraryTokenizer;
}

/** Loaded when first used: a program that never touches text does not pay for it. */
export async function loadLibrary(): Promise<Library> {
  return (await import("@huggingface/tokenizers")) as Library;
}
