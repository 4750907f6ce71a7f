import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import type { ErrorCode } from "../../lib/errors.js";
import { type Draft, denseDraft, draft, expectRefusal, write } from "./draft.js";

type Change = Record<string, unknown>;

/** Changes fields of the YAML, those of a section given as a mapping one by one; undefined takes one away. */
function change(changes: Change) {
  return (source: Draft) => {
    const yaml = source.yaml as Record<string, unknown>;
    for (const [key, value] of Object.entries(changes)) {
      const merge = typeof value === "object" && value !== null && !Array.isArray(value);
      yaml[key] = merge ? { ...(yaml[key] as Change | undefined), ...value } : value;
      if (value === undefined) delete yaml[key];
    }
  };
}

const planWith = async (changes: Change) =>
  (await readCheckpoint(await write(draft(), change(changes)))).plan;

const refused = (changes: Change, says: string, code: ErrorCode = "ERR_NVIUM_MODEL_FORMAT") =>
  expectRefusal(draft(), change(changes), code, ".hydra/config.yaml", says);

const refusedText = (yaml: string | Uint8Array, says: string) =>
  expectRefusal(
    draft(),
    (source) => source.files.set(".hydra/config.yaml", yaml),
    "ERR_NVIUM_MODEL_FORMAT",
    ".hydra/config.yaml",
    says,
  );

/** Writes a dense checkpoint whose YAML files, by place, differ in router_temp; tells which was read. */
async function firstOf(...places: string[]): Promise<string | undefined> {
  const source = draft();
  const base = source.yaml as Record<string, unknown>;
  source.yaml = null;
  const path = await write(source);
  for (const [i, place] of places.entries()) {
    const yaml = { ...base, router: { ...(base.router as object), router_temp: i + 2 } };
    await mkdir(dirname(join(path, place)), { recursive: true });
    await writeFile(join(path, place), JSON.stringify(yaml));
  }
  const { plan } = await readCheckpoint(path);
  return places[plan.routerTemperature - 2];
}

describe("the training configuration", () => {
  const PLACES = [
    ".hydra/config.yaml",
    "../.hydra/config.yaml",
    "../../.hydra/config.yaml",
    "ft_exp_config.yaml",
    "../train_config.yaml",
  ];

  it.each(PLACES)("is found at %s", async (place) => {
    expect(await firstOf(place)).toBe(place);
  });

  it("is the first found", async () => {
    for (let i = 0; i + 1 < PLACES.length; i++) {
      expect(await firstOf(...PLACES.slice(i))).toBe(PLACES[i]);
    }
  });

  it("is not passed over where it exists but is no file", () =>
    expectRefusal(
      draft(),
      (source) => {
        source.yaml = null;
        source.files.set(".hydra/config.yaml/nested", "");
      },
      "ERR_NVIUM_MODEL_FORMAT",
      ".hydra/config.yaml",
      "not a regular file",
    ));

  it("is needed by tensors that belong to exits, and the error says where it could be", () =>
    expectRefusal(
      draft(),
      (source) => {
        source.yaml = null;
      },
      "ERR_NVIUM_MODEL_FORMAT",
      '"final_adapter.0.weight" belongs to a model with exits',
      ".hydra/config.yaml",
      "ft_exp_config.yaml",
    ));

  it.each([
    ["", "expected a mapping"],
    ["[1, 2]", "expected a mapping"],
    ["a: [", "not valid YAML"],
    ["a: 1\na: 2", "not valid YAML"],
    ["a: 1\n---\na: 2", "not valid YAML"],
    ["? [a, b]\n: 1", "not valid YAML"],
    ["a: !!python/tuple [1, 2]", "not valid YAML"],
    ["a: !!set {b}", "not valid YAML"],
    ["a: *nowhere", "not valid YAML"],
    ["inference: &a [*a]", "not valid YAML"],
    ["%YAML 1.1\n---\na: !!set {b}", "not valid YAML"],
    ["a: !!binary aGVsbG8=", "not valid YAML"],
    [Buffer.from([0x61, 0x3a, 0x20, 0xff]), "not UTF-8"],
    ["#".repeat(2 ** 16 + 1), "expected at most 65536"],
  ])("is refused as %j", (text, says) => refusedText(text, says));

  it("may repeat a block by an alias, as YAML writers do", async () => {
    const path = await write(draft(), (source) => {
      const yaml = JSON.stringify(source.yaml);
      source.yaml = `${yaml.slice(0, -1)}, "training_args": &a {x: 1}, "inference": *a}`;
    });
    expect((await readCheckpoint(path)).inference).toEqual({ x: 1 });
  });

  it("is refused for aliases that multiply", async () => {
    const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"];
    for (let i = 1; i < 9; i++) {
      lines.push(
        `a${i}: &a${i} [${Array(9)
          .fill(`*a${i - 1}`)
          .join(", ")}]`,
      );
    }
    await refusedText(lines.join("\n"), "not valid YAML");
  });

  it("is refused for nesting without end", () =>
    refusedText(`a: ${"[".repeat(60_000)}`, "not valid YAML"));

  it("merges nothing in: << is a key like any other", async () => {
    const path = await write(draft(), (source) => {
      const yaml = JSON.stringify(source.yaml);
      source.yaml = `{"<<": {"model_type": "baseline"}, ${yaml.slice(1)}`;
    });
    expect((await readCheckpoint(path)).plan.exits).toHaveLength(2);
  });

  it("shows its inference block and applies nothing of it", async () => {
    const inference = { router_sample_temp: 0.5, early_layer_idx: 1 };
    const checkpoint = await readCheckpoint(await write(draft(), change({ inference })));
    expect(checkpoint.inference).toEqual(inference);
    expect(checkpoint.plan.routerTemperature).toBe(1);
  });
});

describe("model_type", () => {
  it.each(["Nvium", "multihead", undefined])("%j has exits", async (type) => {
    expect((await planWith({ model_type: type })).exits).toHaveLength(2);
  });

  it("baseline ignores exits, routers and adapters, even impossible ones", async () => {
    const path = await write(denseDraft(), (source) => {
      source.yaml = {
        model_type: "baseline",
        early_layer_idx: "everywhere",
        router: { router_type: "oracle", router_temp: -1 },
        early_adapter: { enabled: "perhaps" },
        final_adapter: { enabled: true, dim: -1 },
        tying: { tie_final_to_embeddings: false, tie_early_to_final: "no" },
      };
    });
    const { plan } = await readCheckpoint(path);
    expect(plan).toMatchObject({ exits: [], routerTemperature: 1, final: { adapter: null } });
  });

  it("baseline refuses tensors that belong to exits", () =>
    expectRefusal(
      draft(),
      change({ model_type: "baseline" }),
      "ERR_NVIUM_MODEL_FORMAT",
      "model.safetensors",
      '"final_adapter.0.weight" is unknown',
    ));

  it.each(["calm", "layerskip", "nvium", "toString"])("%j is refused by name", (type) =>
    refused({ model_type: type }, `model_type is "${type}"`, "ERR_NVIUM_UNSUPPORTED"),
  );

  it("is refused as anything but a string", () => refused({ model_type: 3 }, "model_type is 3"));
});

describe("early_layer_idx", () => {
  it("may be a list in any order", async () => {
    const { exits } = await planWith({ early_layer_idx: [2, 1] });
    expect(exits.map((exit) => exit.afterLayer)).toEqual([1, 2]);
  });

  it("may be one number", async () => {
    const path = await write(draft(), (source) => {
      change({ early_layer_idx: 2 })(source);
      for (const name of source.tensors.keys()) {
        if (/^(early|router)_.*\.1\.(0|2|weight|bias|layers)/.test(name))
          source.tensors.delete(name);
      }
    });
    const { plan } = await readCheckpoint(path);
    expect(plan.exits.map((exit) => exit.afterLayer)).toEqual([2]);
  });

  it("may be empty: a standard transformer with a final adapter", async () => {
    const path = await write(draft(), (source) => {
      change({ early_layer_idx: [] })(source);
      for (const name of source.tensors.keys()) {
        if (/^(early|router)_/.test(name)) source.tensors.delete(name);
      }
    });
    const { plan } = await readCheckpoint(path);
    expect(plan.exits).toEqual([]);
    expect(plan.final.adapter).not.toBeNull();
  });

  it.each([
    [undefined],
    [null],
    ["2"],
    [0],
    [3],
    [-1],
    [1.5],
    [[1, 3]],
    [[1, "2"]],
    [[1, null]],
    [{ a: 1 }],
  ])("is refused as %j", (value) => refused({ early_layer_idx: value }, "early_layer_idx is"));

  it("is refused with the same layer twice", () =>
    refused({ early_layer_idx: [2, 1, 2] }, "names layer 2 twice"));
});

describe("the router's configuration", () => {
  it("gives the temperature that divides its logits", async () => {
    expect((await planWith({ router: { router_temp: 2.5 } })).routerTemperature).toBe(2.5);
    expect((await planWith({ router: { router_temp: undefined } })).routerTemperature).toBe(1);
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, "1", true, 1e-40])(
    "is refused for router_temp %j",
    (value) => refused({ router: { router_temp: value } }, "router.router_temp is"),
  );

  it("is refused by name for another router_type", () =>
    refused(
      { router: { router_type: "llama" } },
      'router.router_type is "llama"',
      "ERR_NVIUM_UNSUPPORTED",
    ));

  it("may leave every size to the tensors", async () => {
    const plan = await planWith({ router: undefined });
    expect(plan.exits.map((exit) => exit.router.blocks.length)).toEqual([2, 2]);
  });

  it.each([
    [{ router: { hidden_size: 0 } }, "router.hidden_size is 0"],
    [{ router: { intermediate_size: "7" } }, "router.intermediate_size"],
    [{ router: { num_layers: 1.5 } }, "router.num_layers is 1.5"],
    [{ router: [] }, "router is a list"],
    [{ early_adapter: { enabled: 1 } }, "early_adapter.enabled is 1"],
    [{ early_adapter: { dim: 0 } }, "early_adapter.dim is 0"],
    [{ final_adapter: true }, "final_adapter is true"],
    [{ tying: { tie_final_to_embeddings: "no" } }, "tying.tie_final_to_embeddings"],
    [{ tying: { tie_early_to_final: 1 } }, "tying.tie_early_to_final is 1"],
    [{ temperature: "1" }, "temperature"],
  ])("and its neighbours are refused as %j", (changes, says) => refused(changes, says));

  it("is refused beside a training temperature other than 1", () =>
    refused({ temperature: 2 }, "temperature is 2", "ERR_NVIUM_UNSUPPORTED"));
});
