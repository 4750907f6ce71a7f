/** The pieces of a vocabulary, packed so that they cross from thread to thread without being copied. */

export interface PackedPieces {
  /** All pieces in UTF-8, one after the other. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** [2 * n]: where the piece of each id begins and ends; -1 and -1 where there is none. */
  readonly ranges: Int32Array<ArrayBuffer>;
}

export function packPieces(pieces: readonly (string | undefined)[]): PackedPieces {
  const ranges = new Int32Array(pieces.length * 2).fill(-1);
  let end = 0;
  const parts: Buffer[] = [];
  for (let id = 0; id < pieces.length; id++) {
    const piece = pieces[id];
    if (piece === undefined) continue;
    const part = Buffer.from(piece);
    parts.push(part);
    ranges[2 * id] = end;
    end += part.length;
    ranges[2 * id + 1] = end;
  }
  const bytes = new Uint8Array(end);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return { bytes, ranges };
}

/** The piece of an id; undefined where there is none. */
export function pieceLookup({ bytes, ranges }: PackedPieces): (id: number) => string | undefined {
  const buffer = Buffer.from(bytes.buffer);
  return (id) => {
    const start = ranges[2 * id] ?? -1;
    return start < 0 ? undefined : buffer.toString("utf8", start, ranges[2 * id + 1]);
  };
}
