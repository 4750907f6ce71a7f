/** Which of some names was meant by one that is none of them. */

/**
 * The nearest name, whatever the case and with or without underscores; undefined where none is near: where more than a
 * third of the letters differ and neither is the beginning of the other.
 */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const plain = plainOf(name);
  const ranked = names
    .map((candidate) => {
      const other = plainOf(candidate);
      const within = plain !== "" && (other.startsWith(plain) || plain.startsWith(other));
      const far = edits(plain, other) / Math.max(plain.length, other.length);
      return { candidate, far: within ? far / 4 : far, shared: sharedStart(plain, other) };
    })
    .sort((a, b) => a.far - b.far || b.shared - a.shared);
  const [best] = ranked;
  return best !== undefined && best.far <= 1 / 3 ? best.candidate : undefined;
}

function plainOf(name: string): string {
  return name.toLowerCase().replaceAll(/[_-]/g, "");
}

function sharedStart(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

/** Letters to insert, remove or replace. */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
