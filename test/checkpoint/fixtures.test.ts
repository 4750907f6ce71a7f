import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import type { ModelPlan, TensorIndex } from "../../lib/checkpoint/plan.js";
import { expectSound } from "./invariants.js";

const DEFAULT = { theta: 10000, scaling: { type: "default" } };

/** What each checkpoint's own configuration says, and its parameters counted by hand from its shapes. */
const CHECKPOINTS = [
  {
    path: "test/fixtures/quadrivium-gqa-f32",
    dtype: "f32",
    parameters: 438270,
    exits: [2, 4, 6],
    heads: ["lm_head", "lm_head", "lm_head", "lm_head"],
    adapters: [64, 64, 64, 64],
    blocks: 1,
    plan: {
      layers: 8,
      hiddenSize: 64,
      intermediateSize: 172,
      heads: 4,
      kvHeads: 2,
      headDim: 16,
      vocabSize: 199,
      normEpsilon: 1e-5,
      contextLength: 2048,
      rotary: DEFAULT,
      routerTemperature: 1,
    },
  },
  {
    path: "test/fixtures/bivium-untied-bf16",
    dtype: "bf16",
    parameters: 596802,
    exits: [3],
    heads: ["early_lm_heads.0", "lm_head"],
    adapters: [96, 96],
    blocks: 1,
    plan: { layers: 5, heads: 4, kvHeads: 4, headDim: 24, vocabSize: 256, rotary: DEFAULT },
  },
  {
    path: "test/fixtures/trivium-sharded-f16",
    dtype: "f16",
    parameters: 115300,
    exits: [1, 2],
    heads: [
      "_orig_mod.model.embed_tokens",
      "_orig_mod.model.embed_tokens",
      "_orig_mod.model.embed_tokens",
    ],
    adapters: [32, 32, 32],
    blocks: 2,
    plan: { layers: 4, heads: 3, kvHeads: 1, headDim: 16, vocabSize: 130, rotary: DEFAULT },
  },
  {
    path: "test/fixtures/quadrivium-long-bf16",
    dtype: "bf16",
    parameters: 386174,
    exits: [2, 4, 6],
    heads: ["lm_head", "lm_head", "lm_head", "lm_head"],
    adapters: [64, 64, 64, 64],
    blocks: 1,
    plan: { layers: 8, contextLength: 2048, rotary: { ...DEFAULT, theta: 500000 } },
  },
  {
    path: "test/fixtures/trivium-no-adapters-f32",
    dtype: "f32",
    parameters: 288404,
    exits: [2, 4],
    heads: ["lm_head", "lm_head", "lm_head"],
    adapters: [null, null, null],
    blocks: 1,
    plan: { layers: 6, vocabSize: 97 },
  },
  {
    path: "test/fixtures/bivium-router-temp-f32",
    dtype: "f32",
    parameters: 100786,
    exits: [2],
    heads: ["model.embed_tokens", "model.embed_tokens"],
    adapters: [48, 48],
    blocks: 1,
    plan: {
      layers: 4,
      routerTemperature: 2,
      rotary: { theta: 10000, scaling: { type: "linear", factor: 4 } },
    },
  },
  {
    path: "test/fixtures/dense-baseline-f32",
    dtype: "f32",
    parameters: 110448,
    exits: [],
    heads: ["lm_head"],
    adapters: [null],
    blocks: 0,
    plan: { layers: 4, heads: 3, kvHeads: 3, vocabSize: 90, routerTemperature: 1 },
  },
  {
    path: "test/fixtures/dense-llama3-rope-bf16",
    dtype: "bf16",
    parameters: 175936,
    exits: [],
    heads: ["model.embed_tokens"],
    adapters: [null],
    blocks: 0,
    plan: {
      layers: 3,
      heads: 4,
      kvHeads: 2,
      headDim: 32,
      rotary: {
        theta: 500000,
        scaling: {
          type: "llama3",
          factor: 8,
          lowFrequencyFactor: 1,
          highFrequencyFactor: 4,
          originalContext: 64,
        },
      },
    },
  },
  {
    path: "models/demo",
    dtype: "bf16",
    parameters: 4479366,
    exits: [2, 4, 6],
    heads: ["model.embed_tokens", "model.embed_tokens", "model.embed_tokens", "model.embed_tokens"],
    adapters: [192, 192, 192, 192],
    blocks: 1,
    plan: { layers: 8, hiddenSize: 192, heads: 6, kvHeads: 3, vocabSize: 4096 },
  },
];

function nameOf(plan: ModelPlan, index: TensorIndex): string | undefined {
  return plan.tensors[index]?.name;
}

describe.each(CHECKPOINTS)("$path", ({ path, dtype, parameters, exits, plan, ...expected }) => {
  it("gives the plan its configuration describes", async () => {
    const checkpoint = await readCheckpoint(path);
    expect(checkpoint).toMatchObject({ directory: resolve(path), dtype, parameters });
    expect(checkpoint.plan).toMatchObject(plan);
    expect(checkpoint.plan.exits.map((exit) => exit.afterLayer)).toEqual(exits);
    expect(checkpoint.plan.mustEqual).toEqual([]);
  });

  it("puts every tensor in its place once", async () => {
    const { plan: found } = await readCheckpoint(path);
    expectSound(found);
    const outlets = [...found.exits, found.final];
    expect(outlets.map((outlet) => nameOf(found, outlet.head))).toEqual(
      expected.heads.map((head) => `${head}.weight`),
    );
    expect(
      outlets.map(({ adapter }) => adapter && (found.tensors[adapter.up]?.rows ?? null)),
    ).toEqual(expected.adapters);
    for (const { router } of found.exits) expect(router.blocks).toHaveLength(expected.blocks);
  });
});

describe("the details of a plan", () => {
  it("names every tensor of a layer and an exit by its role", async () => {
    const { plan } = await readCheckpoint("test/fixtures/quadrivium-gqa-f32");
    const names = (part: object) =>
      JSON.parse(
        JSON.stringify(part, (key, value) =>
          typeof value === "number" && key !== "afterLayer" ? nameOf(plan, value) : value,
        ),
      );
    const layer = (name: string) => `model.layers.5.${name}.weight`;
    expect(names(plan.layerPlans[5] ?? {})).toEqual({
      inputNorm: layer("input_layernorm"),
      query: layer("self_attn.q_proj"),
      key: layer("self_attn.k_proj"),
      value: layer("self_attn.v_proj"),
      output: layer("self_attn.o_proj"),
      postNorm: layer("post_attention_layernorm"),
      gate: layer("mlp.gate_proj"),
      up: layer("mlp.up_proj"),
      down: layer("mlp.down_proj"),
    });
    expect(names(plan.exits[1] ?? {})).toEqual({
      afterLayer: 4,
      norm: "early_norms.1.weight",
      adapter: { up: "early_adapters.1.0.weight", down: "early_adapters.1.2.weight" },
      head: "lm_head.weight",
      router: {
        blocks: [
          {
            fc1Weight: "router_layers.1.layers.0.fc1.weight",
            fc1Bias: "router_layers.1.layers.0.fc1.bias",
            fc2Weight: "router_layers.1.layers.0.fc2.weight",
            fc2Bias: "router_layers.1.layers.0.fc2.bias",
          },
        ],
        norm: "router_final_norms.1.weight",
        headWeight: "router_heads.1.weight",
        headBias: "router_heads.1.bias",
      },
    });
    expect(names(plan.final)).toEqual({
      norm: "model.norm.weight",
      adapter: { up: "final_adapter.0.weight", down: "final_adapter.2.weight" },
      head: "lm_head.weight",
    });
  });

  it("counts offsets from the start of the file, past the header", async () => {
    const { plan } = await readCheckpoint("models/demo");
    const norm = plan.tensors[plan.final.norm];
    // 8 bytes of length, 10984 of header, then the offset the header gives.
    expect(norm).toEqual({
      name: "model.norm.weight",
      file: 0,
      offset: 8 + 10984 + 8658048,
      rows: 192,
      cols: 1,
      type: "bf16",
    });
  });

  it("spreads a sharded checkpoint over its files", async () => {
    const { plan } = await readCheckpoint("test/fixtures/trivium-sharded-f16");
    expect(plan.files).toEqual(
      [1, 2, 3].map((n) =>
        resolve(`test/fixtures/trivium-sharded-f16/model-0000${n}-of-00003.safetensors`),
      ),
    );
    expect(plan.tensors[plan.embedding]?.file).toBe(0);
    expect(plan.tensors[plan.final.norm]?.file).toBe(1);
    expect(plan.tensors[plan.layerPlans[0]?.key ?? -1]?.file).toBe(2);
  });

  it("tells what belongs to a checkpoint beside its weights", async () => {
    expect(await readCheckpoint("models/demo")).toMatchObject({
      bosTokens: [0],
      eosTokens: [1],
      tokenizerFile: resolve("models/demo/tokenizer.json"),
      tokenizerConfigFile: resolve("models/demo/tokenizer_config.json"),
      inference: null,
    });
    expect(await readCheckpoint("test/fixtures/dense-baseline-f32")).toMatchObject({
      tokenizerFile: null,
      tokenizerConfigFile: null,
    });
  });
});
