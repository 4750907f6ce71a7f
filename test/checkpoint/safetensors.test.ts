import { truncate } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import {
  type Draft,
  draft,
  expectRefusal,
  type Header,
  headerOf,
  refusal,
  safetensors,
  write,
} from "./draft.js";

const NAME = "model.norm.weight";

/** Writes model.safetensors as `make` says, from the header and byte count of a sound one. */
function withFile(make: (header: Header, bytes: number) => Uint8Array) {
  return (source: Draft) => {
    const { header, bytes } = headerOf(source.tensors);
    source.files.set("model.safetensors", make(header, bytes));
  };
}

/** Changes the entry of one tensor, or replaces it. */
function withEntry(change: unknown) {
  return withFile((header, bytes) => {
    const entry = isChange(change) ? { ...header[NAME], ...change } : change;
    return safetensors({ ...header, [NAME]: entry }, bytes);
  });
}

function isChange(change: unknown): change is object {
  return typeof change === "object" && change !== null && !Array.isArray(change);
}

/** Makes room for `gap` bytes before every tensor that begins at `from` or later. */
function shift(header: Header, from: number, gap: number): Header {
  const moved = Object.entries(header).map(([name, entry]) => {
    const by = (entry.data_offsets[0] ?? 0) >= from ? gap : 0;
    return [name, { ...entry, data_offsets: entry.data_offsets.map((at) => at + by) }];
  });
  return Object.fromEntries(moved);
}

const refused = (edit: (draft: Draft) => void, ...says: string[]) =>
  expectRefusal(draft(), edit, "ERR_NVIUM_MODEL_FORMAT", "model.safetensors", ...says);

describe("a header", () => {
  it("may be padded with spaces and carry a map of strings as metadata", async () => {
    const path = await write(
      draft(),
      withFile((header, bytes) => {
        const text = JSON.stringify({ __metadata__: { format: "pt" }, ...header });
        return safetensors(`${text}     `, bytes);
      }),
    );
    await expect(readCheckpoint(path)).resolves.toBeDefined();
  });

  it("may list tensors in any order, empty ones that are ignored among them", async () => {
    const path = await write(draft(), (source) => {
      source.tensors = new Map([
        ["rotary_emb.inv_freq", { dtype: "F32", shape: [0] }],
        ...source.tensors,
      ]);
      withFile((header, bytes) => {
        return safetensors(Object.fromEntries(Object.entries(header).reverse()), bytes);
      })(source);
    });
    await expect(readCheckpoint(path)).resolves.toBeDefined();
  });

  it.each([
    ["an empty file", () => Buffer.alloc(0), "has 0 bytes"],
    ["half a length", () => Buffer.alloc(4), "has 4 bytes"],
    ["a length beyond the file", () => Buffer.from("ffffff0000000000", "hex"), "16777215"],
    ["a length beyond 2^53", () => Buffer.alloc(8, 255), "18446744073709551615"],
    ["no header at all", () => Buffer.alloc(8), "not a JSON object"],
    ["text that is not JSON", () => safetensors("{nonsense", 0), "not valid JSON"],
    ["a JSON list", () => safetensors("[]", 0), "not a JSON object"],
    ["a space before the JSON", () => safetensors(" {}", 0), "not a JSON object"],
    ["a byte order mark", () => safetensors("\ufeff{}", 0), "not a JSON object"],
    ["text after the JSON", () => safetensors("{}x", 0), "not valid JSON"],
  ])("is refused for %s", (_, make, says) => refused(withFile(make), says));

  it("longer than the 100 MB of the format is refused before it is read", async () => {
    const path = await write(
      draft(),
      withFile(() => {
        const length = Buffer.alloc(8);
        length.writeBigUInt64LE(100_000_001n);
        return length;
      }),
    );
    await truncate(join(path, "model.safetensors"), 200_000_000);
    const error = await refusal(readCheckpoint(path));
    expect(error.message).toContain("expected at most 100000000");
  });

  it("that is not UTF-8 is refused", () =>
    refused(
      withFile((header, bytes) => {
        const file = safetensors(header, bytes);
        file[20] = 0xff;
        return file;
      }),
      "not UTF-8",
    ));

  it("nested without end is refused without exhausting the stack", async () => {
    const depth = 5_000_000;
    await refused(
      withFile(() => safetensors(`{"a":${"[".repeat(depth)}`, 0)),
      "nested deeper than 32",
    );
  });

  it("with millions of values is refused before they are built", () =>
    refused(
      withFile(() => safetensors(`{"a":[${"0,".repeat(2_000_000)}0]}`, 0)),
      "more than 1048576 values",
    ));

  it("that names a tensor twice is refused, however the name is spelled", async () => {
    const escaped = NAME.replace("m", "\\u006d");
    for (const name of [NAME, escaped]) {
      await refused(
        withFile((header, bytes) => {
          const entry = JSON.stringify(header[NAME]);
          return safetensors(`${JSON.stringify(header).slice(0, -1)},"${name}":${entry}}`, bytes);
        }),
        `"${NAME}" twice`,
      );
    }
  });

  it.each([[{ format: 1 }], [["pt"]], ["pt"], [null]])(
    "is refused for the metadata %j",
    (metadata) =>
      refused(
        withFile((header, bytes) => safetensors({ __metadata__: metadata, ...header }, bytes)),
        "__metadata__",
      ),
  );
});

describe("a tensor's description", () => {
  it.each([
    ["nothing", null, "mapping"],
    ["a list", ["F32"], "mapping"],
    ["an unknown type", { dtype: "F31" }, '"F31"'],
    ["no type", { dtype: undefined }, "nothing"],
    ["a type named like a method", { dtype: "constructor" }, '"constructor"'],
    ["a shape that is no list", { shape: 8 }, "shape"],
    ["a negative extent", { shape: [-8] }, "shape"],
    ["a fractional extent", { shape: [8.5] }, "shape"],
    ["an extent that is a string", { shape: ["8"] }, "shape"],
    ["an extent beyond 2^53", { shape: [2 ** 53] }, "shape"],
    ["a product beyond 2^53", { shape: [2 ** 30, 2 ** 30] }, "fewer than 2^53"],
    ["a product that overflows to fit", { shape: [2 ** 52, 2 ** 52, 0] }, "fewer than 2^53"],
    ["a shape of other size than its bytes", { shape: [9] }, "36"],
    ["a type of other size than its bytes", { dtype: "BF16" }, "16"],
    ["no offsets", { data_offsets: undefined }, "offsets"],
    ["one offset", { data_offsets: [0] }, "offsets"],
    ["three offsets", { data_offsets: [640, 672, 672] }, "offsets"],
    ["descending offsets", { data_offsets: [672, 640] }, "offsets"],
    ["negative offsets", { data_offsets: [-32, 0] }, "offsets"],
  ])("is refused for %s", (_, change, says) => refused(withEntry(change), `"${NAME}"`, says));
});

describe("the bytes of a file", () => {
  it("that two tensors claim are refused", () =>
    refused(withEntry({ data_offsets: [608, 640] }), `"${NAME}"`, "overlaps"));

  it("that lie between tensors and belong to none are refused", () =>
    refused(
      withFile((header, bytes) => safetensors(shift(header, 640, 4), bytes + 4)),
      `"${NAME}" leaves bytes unused`,
    ));

  it("that come before the first tensor are refused", () =>
    refused(
      withFile((header, bytes) => safetensors(shift(header, 0, 4), bytes + 4)),
      "leaves bytes unused",
    ));

  it("that follow the last tensor are refused", () =>
    refused(
      withFile((header, bytes) => safetensors(header, bytes + 3)),
      "3 bytes that belong to no tensor",
    ));

  it("that are cut off are refused, naming the tensor they belong to", () =>
    refused(
      withFile((header, bytes) => safetensors(header, bytes - 1)),
      "truncated",
      "router_heads.1.bias",
    ));
});

describe("what a message repeats of a file", () => {
  it("cannot steer a terminal or fill it", async () => {
    const name = `\u001b[2J\u009b\u202e${"x".repeat(1000)}`;
    const path = await write(draft(), (source) =>
      source.tensors.set(name, { dtype: "F32", shape: [1] }),
    );
    const error = await refusal(readCheckpoint(path));
    expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(error.message.length).toBeLessThan(1000);
    expect(error.details).toMatchObject({ tensor: name });
  });
});
