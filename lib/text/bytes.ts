/** Pieces that stand for bytes. */
import type { Stage } from "./stages.js";

/** Byte order marks are characters like others here, wherever they stand. */
const utf8 = () => new TextDecoder("utf-8", { ignoreBOM: true });

export function byteLevel(): Stage {
  const decoder = utf8();
  const encoder = new TextEncoder();
  return {
    push(piece) {
      const bytes = byteLevelBytes(piece) ?? encoder.encode(piece);
      return [decoder.decode(bytes, { stream: true })];
    },
    end: () => [decoder.decode()],
  };
}

/**
 * `<0xE2>` and its like are bytes; other pieces are text and end a run of bytes.
 *
 * @param whole a run comes out as one part, when it has ended
 */
export function byteFallback(whole: boolean): Stage {
  const decoder = utf8();
  let run = "";
  /** Whether a run is open. */
  let open = false;
  const flush = (): string[] => {
    const rest = run + decoder.decode();
    const result = open && (whole || rest !== "") ? [rest] : [];
    run = "";
    open = false;
    return result;
  };
  return {
    push(piece) {
      if (!/^<0x[0-9A-Fa-f]{2}>$/.test(piece)) return [...flush(), piece];
      const byte = Number.parseInt(piece.slice(3, 5), 16);
      const characters = decoder.decode(Uint8Array.of(byte), { stream: true });
      open = true;
      if (!whole) return [characters];
      run += characters;
      return [];
    },
    end: flush,
  };
}

/**
 * The byte-level alphabet writes a byte that prints as the Latin-1 character it is, and numbers the others upward
 * from U+0100.
 */
const BYTE_OF: ReadonlyMap<string, number> = (() => {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const prints = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
  return new Map([
    ...bytes.filter(prints).map((byte) => [String.fromCharCode(byte), byte] as const),
    ...bytes
      .filter((byte) => !prints(byte))
      .map((byte, i) => [String.fromCharCode(0x100 + i), byte] as const),
  ]);
})();

/** The bytes a piece stands for, or undefined if it has characters outside the byte-level alphabet. */
function byteLevelBytes(piece: string): Uint8Array | undefined {
  const bytes = new Uint8Array(piece.length);
  for (let i = 0; i < piece.length; i++) {
    const byte = BYTE_OF.get(piece.charAt(i));
    if (byte === undefined) return undefined;
    bytes[i] = byte;
  }
  return bytes;
}
