import { execFileSync } from "node:child_process";
import { readdirSync, rmSync, symlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import { withFile } from "../../lib/checkpoint/files.js";
import { draft, freshDirectory, refusal, write } from "./draft.js";

describe("readCheckpoint", () => {
  it("takes a relative path and answers with absolute ones", async () => {
    const path = await write(draft(), (source) => source.files.set("tokenizer.json", "{}"));
    const checkpoint = await readCheckpoint(relative(process.cwd(), path));
    expect(checkpoint.directory).toBe(path);
    expect(checkpoint.plan.files).toEqual([join(path, "model.safetensors")]);
    expect(checkpoint.tokenizerFile).toBe(join(path, "tokenizer.json"));
    expect(checkpoint.tokenizerConfigFile).toBeNull();
  });

  it("takes files that are links, as in the Hugging Face cache", async () => {
    const real = await write(draft());
    const path = await freshDirectory();
    for (const name of ["config.json", "model.safetensors", ".hydra"]) {
      symlinkSync(join(real, name), join(path, name));
    }
    expect((await readCheckpoint(path)).plan.exits).toHaveLength(2);
  });

  it.each([undefined, null, "", 7, {}, "a\0b"])("refuses %j for a directory", async (path) => {
    const error = await refusal(readCheckpoint(path as string));
    expect(error).toMatchObject({
      code: "ERR_NVIUM_INVALID_ARG",
      details: { argument: "directory" },
    });
  });

  it.each([{ signal: "stop" }, { signal: {} }, null, 7])(
    "refuses %j for options",
    async (options) => {
      const error = await refusal(readCheckpoint("models/demo", options as object));
      expect(error.code).toBe("ERR_NVIUM_INVALID_ARG");
    },
  );

  it("says where there is no directory, with the system's error as cause", async () => {
    const error = await refusal(readCheckpoint("no/such/directory"));
    expect(error).toMatchObject({ code: "ERR_NVIUM_IO", cause: { code: "ENOENT" } });
    expect(error.message).toContain("no/such/directory");
  });

  it("says where a file stands in for the directory", async () => {
    const error = await refusal(readCheckpoint("package.json"));
    expect(error).toMatchObject({ code: "ERR_NVIUM_IO" });
    expect(error.message).toContain("not a directory");
  });

  it.each(["config.json", "model.safetensors", ".hydra/config.yaml"])(
    "says what the system said of an unreadable %s",
    async (name) => {
      const path = await write(draft());
      rmSync(join(path, name));
      symlinkSync(join(path, name), join(path, name));
      const error = await refusal(readCheckpoint(path));
      expect(error).toMatchObject({
        code: "ERR_NVIUM_IO",
        details: { file: join(path, name) },
        cause: { code: "ELOOP" },
      });
      expect(error.message).toContain(name);
    },
  );

  it.skipIf(process.platform === "win32").each(["config.json", "model.safetensors"])(
    "does not wait for a pipe in place of %s",
    async (name) => {
      const path = await write(draft());
      rmSync(join(path, name));
      execFileSync("mkfifo", [join(path, name)]);
      const error = await refusal(readCheckpoint(path));
      expect(error.code).toBe("ERR_NVIUM_MODEL_FORMAT");
      expect(error.message).toContain("not a regular file");
    },
  );

  it.skipIf(process.platform !== "linux")("leaves no file open, whatever happens", async () => {
    const open = () => readdirSync("/proc/self/fd").length;
    const good = await write(draft());
    const bad = await write(draft(), (source) => source.files.set("model.safetensors", "x"));
    const yaml = await write(draft(), (source) => source.files.set(".hydra/config.yaml", "a: ["));
    await readCheckpoint(good);
    const before = open();
    for (let i = 0; i < 20; i++) {
      await readCheckpoint(good);
      await refusal(readCheckpoint(bad));
      await refusal(readCheckpoint(yaml));
    }
    expect(open()).toBe(before);
  });
});

describe("a file that changes while it is read", () => {
  it("is refused where it ends before its own size", async () => {
    const reading = withFile("package.json", (file) => file.read(file.size - 1, 2));
    expect((await refusal(reading)).code).toBe("ERR_NVIUM_MODEL_FORMAT");
  });

  it.skipIf(process.platform !== "linux")("is refused where the system fails to read", async () => {
    // Address 0 of a process is never mapped: reading it fails with EIO.
    const reading = withFile("/proc/self/mem", (file) => file.read(0, 8));
    expect(await refusal(reading)).toMatchObject({ code: "ERR_NVIUM_IO", cause: { code: "EIO" } });
  });
});

describe("an aborted read", () => {
  it("rejects with the signal's own reason when it was aborted before", async () => {
    const reason = new Error("no longer wanted");
    const signal = AbortSignal.abort(reason);
    await expect(readCheckpoint("models/demo", { signal })).rejects.toBe(reason);
  });

  it("rejects with the signal's own reason when it is aborted under way", async () => {
    const controller = new AbortController();
    const reading = readCheckpoint("models/demo", { signal: controller.signal });
    controller.abort("enough");
    await expect(reading).rejects.toBe("enough");
  });

  it("is not what an unaborted signal makes of it", async () => {
    const { signal } = new AbortController();
    await expect(readCheckpoint("models/demo", { signal })).resolves.toBeDefined();
  });
});
