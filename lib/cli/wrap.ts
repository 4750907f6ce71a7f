/** Breaking lines between words, for eyes: text that comes in pieces, each with its own paint. */

type Paint = (text: string) => string;

export interface Wrapper {
  /** Adds text. A word's beginning waits until the word is whole, because it may have to go on the next line. */
  push(text: string, paint: Paint): void;
  /** Writes what waits. */
  flush(): void;
}

/** Lines of at most `columns` characters; a longer word is left to the terminal. */
export function createWrapper(columns: number, write: (text: string) => void): Wrapper {
  let column = 0;
  /** The space in front of a word and the word so far. */
  let waiting: { text: string; paint: Paint }[] = [];

  const flush = () => {
    const width = waiting.reduce((sum, { text }) => sum + [...text].length, 0);
    const breaks = column > 0 && column + width > columns && /\S/.test(textOf(waiting));
    if (breaks) {
      write("\n");
      column = 0;
    }
    let leading = breaks;
    for (const { text, paint } of waiting) {
      const rest = leading ? text.trimStart() : text;
      leading &&= rest === "";
      column += [...rest].length;
      if (rest !== "") write(paint(rest));
    }
    waiting = [];
  };

  return {
    push(text, paint) {
      for (const [part] of text.matchAll(/\n|[^\S\n]+|\S+/g)) {
        const space = /^\s/.test(part);
        // A word ends where space begins; space alone may grow.
        if (space && (part === "\n" || /\S$/.test(textOf(waiting)))) flush();
        if (part === "\n") {
          write(part);
          column = 0;
          continue;
        }
        const last = waiting.at(-1);
        if (last?.paint === paint) last.text += part;
        else waiting.push({ text: part, paint });
      }
    },
    flush,
  };
}

function textOf(pieces: readonly { text: string }[]): string {
  return pieces.map(({ text }) => text).join("");
}
