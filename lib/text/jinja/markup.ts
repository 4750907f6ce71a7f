/** Filters that are about web pages and lines rather than values. */

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "'": "&#39;",
  '"': "&#34;",
};

export const escapeHtml = (text: string) => text.replace(/[&<>'"]/g, (c) => ENTITIES[c] ?? c);

const NAMED: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
};

export function stripTags(text: string): string {
  const bare = text.replace(/<!--[\s\S]*?-->/g, "").replace(/<[^>]*>/g, "");
  const words = bare.split(/\s+/).filter((word) => word !== "");
  return words
    .join(" ")
    .replace(/&(?:#(\d+)|#[xX]([\da-fA-F]+)|(\w+));/g, (whole, ten, hex, name) => {
      if (name !== undefined) return NAMED[name] ?? whole;
      return String.fromCodePoint(ten === undefined ? Number.parseInt(hex, 16) : Number(ten));
    });
}

export function quoteUrl(text: string, safe: string): string {
  const quoted = encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return safe === "/" ? quoted.replaceAll("%2F", "/") : quoted;
}

export function fileSize(bytes: number, binary: boolean): string {
  const base = binary ? 1024 : 1000;
  if (bytes === 1) return "1 Byte";
  if (bytes < base) return `${Math.trunc(bytes)} Bytes`;
  const units = [..."KMGTPEZY"];
  const power = Math.min(Math.floor(Math.log(bytes) / Math.log(base)), units.length);
  const prefix = units[power - 1] ?? "";
  const unit = binary ? `${prefix}iB` : `${prefix === "K" ? "k" : prefix}B`;
  return `${(bytes / base ** power).toFixed(1)} ${unit}`;
}

/** One line as several of at most `width` characters. */
export function wrapped(line: string, width: number, breaks: boolean, hyphens: boolean): string[] {
  const pattern = hyphens ? /(\s+|[^\s]*?[\p{L}]-(?=\p{L}))/u : /(\s+)/;
  const chunks = line.split(pattern).filter((chunk) => chunk !== "");
  const lines: string[] = [];
  while (chunks.length > 0) {
    let current = "";
    if (lines.length > 0 && (chunks[0] ?? "").trim() === "") chunks.shift();
    while (chunks[0] !== undefined && current.length + chunks[0].length <= width) {
      current += chunks.shift();
    }
    const [next] = chunks;
    if (next !== undefined && next.length > width) {
      const room = breaks ? Math.max(1, width - current.length) : current === "" ? next.length : 0;
      current += next.slice(0, room);
      chunks[0] = next.slice(room);
      if (chunks[0] === "") chunks.shift();
    }
    if (current.trimEnd() !== "" || lines.length === 0) lines.push(current.trimEnd());
    if (current === "" && chunks.length === 0) break;
  }
  return lines.filter((text) => text !== "");
}
