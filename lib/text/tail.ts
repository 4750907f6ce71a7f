/** Length of the longest end of `text` that `pattern` begins with, `pattern` itself excluded. */
export function openTail(text: string, pattern: string): number {
  for (let n = Math.min(text.length, pattern.length - 1); n > 0; n--) {
    if (text.endsWith(pattern.slice(0, n))) return n;
  }
  return 0;
}
