import { describe, expect, it } from "vitest";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import { denseDraft, draft, expectRefusal, write } from "./draft.js";

type Change = Record<string, unknown>;

/** The plan of the tiny checkpoint with these fields of config.json changed; undefined takes one away. */
async function planWith(change: Change) {
  const path = await write(draft(), (source) => Object.assign(source.config, change));
  return (await readCheckpoint(path)).plan;
}

const refused = (change: Change, ...says: string[]) =>
  expectRefusal(
    draft(),
    (source) => Object.assign(source.config, change),
    "ERR_NVIUM_MODEL_FORMAT",
    "config.json",
    ...says,
  );

const unsupported = (change: Change, ...says: string[]) =>
  expectRefusal(
    draft(),
    (source) => Object.assign(source.config, change),
    "ERR_NVIUM_UNSUPPORTED",
    "config.json",
    ...says,
  );

const LLAMA3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
};

describe("config.json", () => {
  it.each([
    [null, "is missing"],
    ["", "not valid JSON"],
    ["{", "not valid JSON"],
    ["[]", "expected a mapping"],
    ["null", "expected a mapping"],
    ['{"vocab_size":1,"vocab_size":2}', '"vocab_size" twice'],
    [Buffer.from([0x7b, 0xff, 0x7d]), "not UTF-8"],
    [`{"a":${"[".repeat(100000)}`, "nested deeper than 32"],
    [" ".repeat(2 ** 20 + 1), "expected at most 1048576"],
  ])("is refused as %j", (text, says) =>
    expectRefusal(
      draft(),
      (source) => source.files.set("config.json", text),
      "ERR_NVIUM_MODEL_FORMAT",
      "config.json",
      says,
    ),
  );

  it("may hold numbers as only Python writes them, where nobody looks", async () => {
    const written = (text: string) =>
      write(draft(), (source) => {
        const config = JSON.stringify(source.config).slice(0, -1);
        source.files.set("config.json", `${config}, ${text}}`);
      });
    const path = await written('"a": [NaN, -Infinity, Infinity], "b": "NaN, Infinity \\" NaN"');
    expect((await readCheckpoint(path)).plan.layers).toBeGreaterThan(0);
    for (const text of ['"partial_rotary_factor": NaN', '"rope_theta": Infinity', '"a": NaNa']) {
      await expect(readCheckpoint(await written(text))).rejects.toThrow("config.json");
    }
  });

  it("may have exactly the most bytes allowed", async () => {
    const path = await write(draft(), (source) => {
      source.files.set("config.json", JSON.stringify(source.config).padEnd(2 ** 20));
    });
    await expect(readCheckpoint(path)).resolves.toBeDefined();
  });

  it("may be nested to the deepest level allowed", async () => {
    const path = await write(draft(), (source) => {
      const deepest = `${"[".repeat(31)}${"]".repeat(31)}`;
      const config = JSON.stringify(source.config).replace("{", `{"deep":${deepest},`);
      source.files.set("config.json", config);
    });
    await expect(readCheckpoint(path)).resolves.toBeDefined();
  });

  it("may hold fields this runtime does not know", async () => {
    await expect(
      planWith({ pretraining_tp: 1, quantised: { by: "nobody" } }),
    ).resolves.toBeDefined();
  });

  it.each([
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
    "rms_norm_eps",
  ])("must give %s as a number in its range", async (field) => {
    for (const value of [undefined, null, "8", 0, -1, 1e30, true, [8], {}]) {
      await refused({ [field]: value }, `${field} is`);
    }
  });

  it.each(["hidden_size", "num_hidden_layers", "max_position_embeddings", "vocab_size"])(
    "must give %s as an integer",
    (field) => refused({ [field]: 8.5 }, `${field} is 8.5`),
  );
});

describe("head sizes", () => {
  it("default to one key head per head and hidden_size / heads elements", async () => {
    const path = await write(denseDraft(), ({ config, tensors }) => {
      Object.assign(config, { head_dim: undefined, num_key_value_heads: null });
      for (const [name, entry] of tensors) {
        if (name.includes("self_attn")) entry.shape = [8, 8];
      }
    });
    const { plan } = await readCheckpoint(path);
    expect(plan).toMatchObject({ heads: 4, kvHeads: 4, headDim: 2 });
  });

  it.each([
    [{ num_key_value_heads: 3 }, "num_key_value_heads is 3, expected a divisor of the 4 heads"],
    [{ num_key_value_heads: 8 }, "num_key_value_heads is 8"],
    [{ num_key_value_heads: 0 }, "num_key_value_heads is 0"],
    [{ head_dim: 5 }, "head_dim is 5, expected an even number"],
    [{ head_dim: 0 }, "head_dim is 0"],
    [{ head_dim: 2048 }, "head_dim is 2048"],
    [{ head_dim: null, num_attention_heads: 3, num_key_value_heads: 3 }, "hidden_size is 8"],
  ])("are refused as %j", (change, says) => refused(change, says));
});

describe("what the arithmetic depends on", () => {
  it.each([
    [{ attention_bias: true }, "attention_bias is true"],
    [{ mlp_bias: true }, "mlp_bias is true"],
    [{ hidden_act: "gelu" }, 'hidden_act is "gelu"'],
    [{ partial_rotary_factor: 0.5 }, "partial_rotary_factor is 0.5"],
    [{ quantization_config: { bits: 4 } }, "quantised weights"],
    [{ rope_scaling: { rope_type: "yarn", factor: 2 } }, 'rope_scaling.rope_type is "yarn"'],
    [{ rope_scaling: { type: "dynamic", factor: 2 } }, '"dynamic"'],
    [{ rope_parameters: { rope_type: "longrope" } }, 'rope_parameters.rope_type is "longrope"'],
  ])("is refused by name where it is not supported: %j", (change, says) =>
    unsupported(change, says),
  );

  it("may be said plainly where it is the default", async () => {
    const change = { attention_bias: false, mlp_bias: false, hidden_act: "silu" };
    await expect(planWith({ ...change, partial_rotary_factor: 1 })).resolves.toBeDefined();
  });

  it.each([[{ attention_bias: "yes" }], [{ mlp_bias: 0 }], [{ hidden_act: 7 }]])(
    "is refused in another type: %j",
    (change) => refused(change, Object.keys(change)[0] ?? ""),
  );
});

describe("the element type", () => {
  it("may be named by dtype, torch_dtype or both alike", async () => {
    for (const change of [
      { dtype: "float32" },
      { torch_dtype: "float32" },
      { dtype: "float32", torch_dtype: "float32" },
    ]) {
      await expect(planWith(change)).resolves.toBeDefined();
    }
  });

  it("is refused where dtype and torch_dtype disagree", () =>
    refused(
      { dtype: "float32", torch_dtype: "float16" },
      'dtype is "float32", expected "float16" as torch_dtype says',
    ));
});

describe("the rotary embedding", () => {
  const linear = { type: "linear", factor: 4 };
  const llama3 = {
    type: "llama3",
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalContext: 32,
  };

  it.each([
    [{}, 10000, { type: "default" }],
    [{ rope_theta: 500, rope_scaling: null }, 500, { type: "default" }],
    [{ rope_parameters: { rope_theta: 500 } }, 500, { type: "default" }],
    [{ rope_parameters: { rope_theta: 500, rope_type: "default" } }, 500, { type: "default" }],
    [{ rope_theta: 500, rope_parameters: { rope_theta: 500 } }, 500, { type: "default" }],
    [{ rope_scaling: { rope_type: "linear", factor: 4 } }, 10000, linear],
    [{ rope_scaling: { rope_type: "linear", factor: 1 } }, 10000, { ...linear, factor: 1 }],
    [{ rope_scaling: { type: "linear", factor: 4 } }, 10000, linear],
    [{ rope_scaling: { type: "linear", rope_type: "linear", factor: 4 } }, 10000, linear],
    [{ rope_parameters: { rope_type: "linear", factor: 4, rope_theta: 9 } }, 9, linear],
    [{ rope_scaling: LLAMA3 }, 10000, llama3],
    [{ rope_scaling: LLAMA3, rope_parameters: { ...LLAMA3, rope_theta: 7 } }, 7, llama3],
  ])("is read from %j", async (change, theta, scaling) => {
    expect((await planWith(change)).rotary).toEqual({ theta, scaling });
  });

  it.each([
    [{ rope_theta: 0 }, "rope_theta is 0"],
    [{ rope_theta: "10000" }, "rope_theta"],
    [
      { rope_theta: 500, rope_parameters: { rope_theta: 501 } },
      "rope_parameters.rope_theta is 501",
    ],
    [{ rope_scaling: "linear" }, "rope_scaling"],
    [{ rope_scaling: { factor: 4 } }, "rope_scaling.rope_type"],
    [{ rope_scaling: { rope_type: "linear" } }, "rope_scaling.factor is nothing"],
    [{ rope_scaling: { rope_type: "linear", factor: 0.5 } }, "rope_scaling.factor is 0.5"],
    [{ rope_scaling: { rope_type: "linear", type: "llama3", factor: 4 } }, "rope_scaling.type"],
    [{ rope_scaling: { ...LLAMA3, high_freq_factor: 1 } }, "rope_scaling.high_freq_factor is 1"],
    [{ rope_scaling: { ...LLAMA3, low_freq_factor: undefined } }, "low_freq_factor is nothing"],
    [
      { rope_scaling: { ...LLAMA3, original_max_position_embeddings: 0 } },
      "rope_scaling.original_max_position_embeddings is 0",
    ],
    [
      { rope_scaling: { rope_type: "linear", factor: 4 }, rope_parameters: { rope_theta: 500 } },
      "rope_parameters is the scaling default, expected all that rope_scaling says, linear",
    ],
    [{ rope_scaling: LLAMA3, rope_parameters: { ...LLAMA3, factor: 9 } }, "rope_parameters is"],
  ])("is refused for %j", (change, says) => refused(change, says));
});

describe("the tokens that begin and end a text", () => {
  it.each([
    [undefined, []],
    [null, []],
    [0, [0]],
    [9, [9]],
    [
      [2, 3],
      [2, 3],
    ],
    [[], []],
  ])("are a number, a list or nothing: %j", async (value, expected) => {
    const path = await write(draft(), ({ config }) => {
      Object.assign(config, { bos_token_id: value, eos_token_id: value });
    });
    const checkpoint = await readCheckpoint(path);
    expect(checkpoint).toMatchObject({ bosTokens: expected, eosTokens: expected });
  });

  it.each(["bos_token_id", "eos_token_id"])(
    "are refused outside the vocabulary: %s",
    async (key) => {
      for (const value of [10, -1, 1.5, "1", [1, 10], [[1]], {}])
        await refused({ [key]: value }, key);
    },
  );
});

describe("without a training configuration", () => {
  it("tie_word_embeddings decides whether the head is the embedding", async () => {
    const tied = await write(denseDraft(), ({ config, tensors }) => {
      config.tie_word_embeddings = true;
      tensors.delete("lm_head.weight");
    });
    const { plan } = await readCheckpoint(tied);
    expect(plan.final.head).toBe(plan.embedding);
    for (const value of [false, undefined]) {
      const path = await write(denseDraft(), ({ config }) => {
        config.tie_word_embeddings = value;
      });
      const untied = (await readCheckpoint(path)).plan;
      expect(untied.final.head).not.toBe(untied.embedding);
    }
  });

  it.each([undefined, null, "", "llama"])("model_type may be %j", async (type) => {
    const path = await write(denseDraft(), ({ config }) => {
      config.model_type = type;
    });
    await expect(readCheckpoint(path)).resolves.toBeDefined();
  });

  it("another model_type is refused by name, since its arithmetic may differ", () =>
    expectRefusal(
      denseDraft(),
      ({ config }) => {
        config.model_type = "granite";
      },
      "ERR_NVIUM_UNSUPPORTED",
      'model_type is "granite"',
    ));
});
