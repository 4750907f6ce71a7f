/** Texts that tokenizers find hard. */
import type { Random } from "./random.js";

/** Letters, spaces, signs, other scripts, marks that combine, emoji of several characters, halves of pairs. */
const ALPHABETS: readonly (readonly [from: number, to: number])[] = [
  [0x20, 0x7f],
  [0x20, 0x7f],
  [0x00, 0x20],
  [0x80, 0x250],
  [0x300, 0x370],
  [0x400, 0x530],
  [0x590, 0x700],
  [0x2000, 0x2070],
  [0x2070, 0x2190],
  [0x3040, 0x3100],
  [0x4e00, 0x9fff],
  [0xac00, 0xd7a0],
  [0xd800, 0xe000],
  [0xfe00, 0x10000],
  [0x1d400, 0x1d800],
  [0x1f300, 0x1f700],
  [0xe0000, 0xe0080],
];

const WORDS = [
  ...[
    "<|endoftext|>",
    "<|im_start|>",
    "<s>",
    "</s>",
    "<unk>",
    "[CLS]",
    "[SEP]",
    "▁",
    "Ġ",
    "<0x41>",
  ],
  ...["\r\n", "\n\n", "  ", "   ", "\t", "\u00a0", "\u3000", "\u0085", "\u2028", "\x1c", "\ufeff"],
  ...[
    "\u200d",
    "\u200b",
    "\ufffd",
    "12",
    "1234567",
    "½",
    "²",
    "٣٤",
    "①",
    "Ⅷ",
    "it's",
    "IT'S",
    "we'll",
  ],
  ...[
    "’s",
    "...",
    "hello",
    "Hello, World!",
    "straße",
    "İstanbul",
    "ΣΑΣ",
    "ﬁ",
    "e\u0301",
    "👨‍👩‍👧‍👦",
  ],
  ...["한국어", "नमस्ते", "ไทย", "x=1;", "    return", "http://a.b/c?d=e", "CamelCase", "snake_case"],
];

export function hardText({ below, pick, once }: Random): string {
  let result = "";
  for (let i = below(40); i > 0; i--) {
    if (once(3)) {
      result += pick(WORDS);
      continue;
    }
    const [from, to] = pick(ALPHABETS);
    for (let n = 1 + below(4); n > 0; n--) result += String.fromCodePoint(from + below(to - from));
  }
  return result;
}
