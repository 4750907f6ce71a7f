import { checkIterable, checkOptions } from "../checks.js";
import { NviumError } from "../errors.js";
import type { PieceDecoder } from "./decoder.js";

/** What turning tokens into text takes. */
export interface Vocabulary {
  /** Tokens of the model: valid ones are below it. */
  readonly size: number;
  /** The piece of a token. A model may have more tokens than its tokenizer; those have no text. */
  readonly piece: (token: number) => string | undefined;
  /** Tokens that mark structure rather than stand for text. */
  readonly special: ReadonlySet<number>;
  /** Starts decoding a sequence. */
  readonly decoder: () => PieceDecoder;
}

export interface TextDecodeOptions {
  /** Leave out special tokens such as `</s>`. Default: false. */
  readonly skipSpecialTokens?: boolean;
}

export interface TextStreamOptions extends TextDecodeOptions {
  /**
   * Tokens that come before the first one pushed, usually the prompt. Their text is not given out, but what follows
   * is decoded as their continuation: some tokenizers drop the space in front of a text's first word.
   * Default: none.
   */
  readonly after?: Iterable<number>;
}

/** Tokens in, text out: never half a character, never text that a later token would change. */
export interface TextStream {
  /** Adds a token; returns the text that became certain, often that token's own, possibly "". */
  push(token: number): string;
  /** Returns what was held back, as it reads when nothing follows. The stream is spent after it. */
  end(): string;
}

/** What `push` and `end` return, joined, is the text of all tokens decoded at once. */
export function createTextStream(
  vocabulary: Vocabulary,
  options: TextStreamOptions = {},
): TextStream {
  const { skipSpecialTokens = false, after = [] } = checkOptions(options, {
    skipSpecialTokens: true,
    after: true,
  });
  const { size, special } = vocabulary;
  const decoder = vocabulary.decoder();
  const push = (token: number): string => {
    if (!Number.isInteger(token) || token < 0 || token >= size) {
      throw new NviumError(
        "ERR_NVIUM_INVALID_ARG",
        `Token ${String(token)} is outside the vocabulary: expected an integer from 0 to ${size - 1}`,
        { argument: "token", expected: `0 to ${size - 1}`, actual: token },
      );
    }
    const piece = vocabulary.piece(token);
    if (piece === undefined || (skipSpecialTokens && special.has(token))) return "";
    return decoder.push(piece);
  };
  for (const token of checkIterable("after", after)) push(token);
  return { push, end: () => decoder.end() };
}
