import { describe, expect, it } from "vitest";
import { readCheckpoint } from "../../lib/checkpoint/checkpoint.js";
import { type Draft, denseDraft, draft, expectRefusal, SIZE, write } from "./draft.js";
import { expectSound } from "./invariants.js";

const planOf = async (source: Draft, edit: (draft: Draft) => void = () => {}) =>
  (await readCheckpoint(await write(source, edit))).plan;

const refused = (edit: (draft: Draft) => void, ...says: string[]) =>
  expectRefusal(draft(), edit, "ERR_NVIUM_MODEL_FORMAT", ...says);

function tying(final: boolean, early: "own" | "final" | "embeddings") {
  return {
    tie_final_to_embeddings: final,
    tie_early_to_final: early === "final",
    tie_early_to_embeddings: early === "embeddings",
  };
}

/** Sets how heads are tied, and which of the five vocabulary matrices the file holds. */
function tied(final: boolean, early: "own" | "final" | "embeddings", present: string[]) {
  return (source: Draft) => {
    Object.assign(source.yaml as object, { tying: tying(final, early) });
    source.tensors.delete("model.embed_tokens.weight");
    source.tensors.delete("lm_head.weight");
    for (const name of present) {
      source.tensors.set(`${name}.weight`, { dtype: "F32", shape: [SIZE.vocab, SIZE.d] });
    }
  };
}

const [EMBED, HEAD, EARLY0, EARLY1] = [
  "model.embed_tokens",
  "lm_head",
  "early_lm_heads.0",
  "early_lm_heads.1",
] as const;

/** Names of what a plan uses as embedding, final head and early heads. */
async function vocabularyOf(edit: (draft: Draft) => void) {
  const plan = await planOf(draft(), edit);
  expectSound(plan);
  const name = (index: number) => plan.tensors[index]?.name.replace(/\.weight$/, "");
  return {
    uses: [plan.embedding, plan.final.head, ...plan.exits.map((exit) => exit.head)].map(name),
    mustEqual: plan.mustEqual.map((pair) => pair.map(name)),
  };
}

describe("a tensor", () => {
  it("is required, whichever it is", async () => {
    for (const name of draft().tensors.keys()) {
      const edit = (source: Draft) => source.tensors.delete(name);
      await refused(
        edit,
        "model.safetensors: ",
        `"${name}"`,
        name === "lm_head.weight" ? "none" : "is missing",
      );
    }
  });

  it("is refused in another shape, whichever it is", async () => {
    for (const [name, { shape }] of draft().tensors) {
      for (const other of [shape.map((n) => n + 1), [...shape, 1], shape.slice(1), [0, 0]]) {
        await refused(
          (source) => {
            const entry = source.tensors.get(name);
            if (entry) entry.shape = other;
          },
          "model.safetensors",
          "has the shape",
          "expected [",
        );
      }
    }
  });

  it("is refused transposed, naming what was expected and found", () =>
    refused((source) => {
      source.tensors.set("model.layers.1.mlp.down_proj.weight", { dtype: "F32", shape: [12, 8] });
    }, 'tensor "model.layers.1.mlp.down_proj.weight" has the shape [12, 8], expected [8, 12]'));

  it.each(["F64", "I64", "I8"])("is refused as %s, whichever it is", async (dtype) => {
    for (const name of ["model.norm.weight", "lm_head.weight", "router_heads.1.bias"]) {
      await refused((source) => {
        const entry = source.tensors.get(name);
        if (entry) entry.dtype = dtype;
      }, `"${name}" has the type ${dtype}, expected BF16, F16 or F32`);
    }
  });

  it.each([
    "model.layers.0.self_attn.q_proj.bias",
    "model.layers.3.input_layernorm.weight",
    "model.layers.00.input_layernorm.weight",
    "early_norms.2.weight",
    "router_layers.0.layers.2.fc1.weight",
    "_orig_mod._orig_mod.model.norm.weight",
    "__proto__",
    "",
  ])("is refused by the unknown name %j", (name) =>
    refused(
      (source) => source.tensors.set(name, { dtype: "F32", shape: [8] }),
      `"${name}" is unknown`,
    ),
  );

  it("is refused by an unknown name in a standard checkpoint, naming what it is unknown to", () =>
    expectRefusal(
      denseDraft(),
      (source) => source.tensors.set("extra.weight", { dtype: "F32", shape: [8] }),
      "ERR_NVIUM_MODEL_FORMAT",
      '"extra.weight" is unknown, expected only those that config.json call for',
    ));

  it.each([
    ["_step_tensor", "I64", []],
    ["_orig_mod._step_tensor", "I64", []],
    ["model.layers.0.self_attn.rotary_emb.inv_freq", "F64", [3]],
    ["model.rotary_emb.inv_freq", "F32", [3]],
  ])("is ignored by the name %s", async (name, dtype, shape) => {
    const plan = await planOf(draft(), (source) => source.tensors.set(name, { dtype, shape }));
    expectSound(plan);
    expect(plan.tensors.map((tensor) => tensor.name)).not.toContain(name);
  });

  it("may carry the prefix of a compiled model", async () => {
    const plan = await planOf(draft(), (source) => {
      source.tensors = new Map([...source.tensors].map(([name, at]) => [`_orig_mod.${name}`, at]));
    });
    expectSound(plan);
    expect(plan.tensors[plan.final.norm]?.name).toBe("_orig_mod.model.norm.weight");
  });

  it("is refused with and without that prefix at once", () =>
    refused(
      (source) =>
        source.tensors.set("_orig_mod.model.norm.weight", { dtype: "F32", shape: [SIZE.d] }),
      '"_orig_mod.model.norm.weight" is the same as "model.norm.weight"',
    ));
});

describe("tied matrices", () => {
  it.each([
    [true, "final", [EMBED], [EMBED, EMBED, EMBED, EMBED]],
    [true, "final", [HEAD], [HEAD, HEAD, HEAD, HEAD]],
    [true, "final", [EARLY1], [EARLY1, EARLY1, EARLY1, EARLY1]],
    [true, "embeddings", [HEAD], [HEAD, HEAD, HEAD, HEAD]],
    [false, "final", [EMBED, EARLY1], [EMBED, EARLY1, EARLY1, EARLY1]],
    [false, "embeddings", [EARLY0, HEAD], [EARLY0, HEAD, EARLY0, EARLY0]],
    [true, "own", [EMBED, EARLY0, EARLY1], [EMBED, EMBED, EARLY0, EARLY1]],
    [false, "own", [EMBED, HEAD, EARLY0, EARLY1], [EMBED, HEAD, EARLY0, EARLY1]],
  ] as const)("final %j, early %j: %j suffice", async (final, early, present, uses) => {
    expect(await vocabularyOf(tied(final, early, [...present]))).toEqual({ uses, mustEqual: [] });
  });

  it("present more than once must hold the same bytes", async () => {
    const all = [EMBED, HEAD, EARLY0, EARLY1];
    expect(await vocabularyOf(tied(true, "final", all))).toEqual({
      uses: [EMBED, EMBED, EMBED, EMBED],
      mustEqual: [
        [EMBED, HEAD],
        [EMBED, EARLY0],
        [EMBED, EARLY1],
      ],
    });
    expect(await vocabularyOf(tied(false, "final", all))).toEqual({
      uses: [EMBED, HEAD, HEAD, HEAD],
      mustEqual: [
        [HEAD, EARLY0],
        [HEAD, EARLY1],
      ],
    });
  });

  it("count once among the parameters", async () => {
    const one = await readCheckpoint(await write(draft(), tied(true, "final", [EMBED])));
    const all = [EMBED, HEAD, EARLY0, EARLY1];
    const four = await readCheckpoint(await write(draft(), tied(true, "final", all)));
    expect(four.parameters).toBe(one.parameters);
  });

  it("are refused where none is there", async () => {
    await refused(tied(true, "final", []), "of the tied tensors", EMBED, EARLY1, "none is there");
    await refused(tied(false, "final", [EMBED]), "of the tied tensors", HEAD, EARLY0);
    await refused(tied(false, "final", [HEAD]), `"${EMBED}.weight" is missing`);
    await refused(tied(true, "own", [EMBED, EARLY0]), `"${EARLY1}.weight" is missing`);
  });

  it("are refused in different types", () =>
    refused((source) => {
      tied(true, "final", [EMBED, HEAD])(source);
      source.tensors.set("lm_head.weight", { dtype: "BF16", shape: [SIZE.vocab, SIZE.d] });
    }, '"lm_head.weight" has the type bf16, expected f32 as "model.embed_tokens.weight"'));

  it("tie the final head to the embeddings, and early heads to nothing, unless told", async () => {
    const edit = (source: Draft) => {
      tied(true, "own", [EMBED, EARLY0, EARLY1])(source);
      delete (source.yaml as Record<string, unknown>).tying;
    };
    const { uses } = await vocabularyOf(edit);
    expect(uses).toEqual([EMBED, EMBED, EARLY0, EARLY1]);
  });

  it("follow the YAML where config.json says otherwise", async () => {
    const { uses } = await vocabularyOf((source) => {
      tied(true, "final", [EMBED])(source);
      source.config.tie_word_embeddings = false;
    });
    expect(uses).toEqual([EMBED, EMBED, EMBED, EMBED]);
  });

  it("to the final head win where early heads are tied to both", async () => {
    const { uses } = await vocabularyOf((source) => {
      tied(false, "final", [EMBED, HEAD])(source);
      Object.assign(source.yaml as object, {
        tying: { ...tying(false, "final"), tie_early_to_embeddings: true },
      });
    });
    expect(uses).toEqual([EMBED, HEAD, HEAD, HEAD]);
  });
});

describe("sizes that only tensors know", () => {
  const without = (source: Draft) => {
    const yaml = source.yaml as Record<string, Record<string, unknown>>;
    yaml.early_adapter = { enabled: true };
    yaml.final_adapter = { enabled: true };
    yaml.router = { router_type: "simple_deep_mlp" };
  };

  it("come from them where the YAML is silent", async () => {
    const plan = await planOf(draft(), without);
    expectSound(plan);
    const rows = (index: number | undefined) => plan.tensors[index ?? -1]?.rows;
    expect(plan.exits.map((exit) => rows(exit.adapter?.up))).toEqual([SIZE.a, SIZE.a]);
    expect(rows(plan.final.adapter?.up)).toBe(SIZE.b);
    expect(plan.exits.map((exit) => exit.router.blocks.length)).toEqual([2, 2]);
    expect(rows(plan.exits[0]?.router.norm)).toBe(SIZE.h);
    expect(rows(plan.exits[0]?.router.blocks[1]?.fc1Bias)).toBe(SIZE.m);
  });

  it("are refused where they differ between exits", async () => {
    const { a, d, m } = SIZE;
    await refused(
      (source) => {
        without(source);
        source.tensors.set("early_adapters.1.0.weight", { dtype: "F32", shape: [a + 1, d] });
      },
      `"early_adapters.1.0.weight" has the shape [${a + 1}, ${d}], expected [${a}, ${d}]`,
    );
    await refused((source) => {
      without(source);
      source.tensors.set("router_layers.1.layers.0.fc1.weight", {
        dtype: "F32",
        shape: [m + 1, d],
      });
    }, '"router_layers.1.layers.0.fc1.weight" has the shape');
    await refused((source) => {
      without(source);
      for (const name of source.tensors.keys()) {
        if (name.startsWith("router_layers.1.layers.1")) source.tensors.delete(name);
      }
    }, '"router_layers.1.layers.1.fc1.weight" is missing');
  });

  it.each([
    ["early_adapter", "dim", '"early_adapters.0.0.weight"'],
    ["final_adapter", "dim", '"final_adapter.0.weight"'],
    ["router", "hidden_size", '"router_layers.0.layers.0.fc2.weight"'],
    ["router", "intermediate_size", '"router_layers.0.layers.0.fc1.weight"'],
    ["router", "num_layers", '"router_layers.0.layers.2.fc1.weight"'],
  ])("are refused where %s.%s contradicts them", (section, field, says) =>
    refused(
      (source) => {
        const yaml = source.yaml as Record<string, Record<string, number>>;
        const part = yaml[section] ?? {};
        part[field] = (part[field] ?? 0) + 1;
      },
      "model.safetensors",
      says,
    ),
  );

  it("are refused as zero", () =>
    refused((source) => {
      without(source);
      source.tensors.set("final_adapter.0.weight", { dtype: "F32", shape: [0, SIZE.d] });
      source.tensors.set("final_adapter.2.weight", { dtype: "F32", shape: [SIZE.d, 0] });
    }, '"final_adapter.0.weight" has the shape [0, 8], expected [any, 8]'));

  it("allow a simple_mlp one block, whatever num_layers says", async () => {
    const simple = (source: Draft) => {
      const yaml = source.yaml as Record<string, Record<string, unknown>>;
      Object.assign(yaml.router ?? {}, { router_type: "simple_mlp", num_layers: 5 });
    };
    await refused(simple, '"router_layers.0.layers.1.fc1.weight" is unknown');
    const plan = await planOf(draft(), (source) => {
      simple(source);
      for (const name of source.tensors.keys()) {
        if (/^router_layers\.\d\.layers\.1/.test(name)) source.tensors.delete(name);
      }
    });
    expect(plan.exits.map((exit) => exit.router.blocks.length)).toEqual([1, 1]);
  });
});

describe("adapters", () => {
  const withAdapters = (early: unknown, final: unknown) => (source: Draft) =>
    Object.assign(source.yaml as object, { early_adapter: early, final_adapter: final });

  it("that are not enabled are refused, each by name", async () => {
    const [on, off] = [{ enabled: true }, { enabled: false }];
    await refused(withAdapters(off, on), '"early_adapters.0.0.weight" is unknown');
    await refused(withAdapters(on, off), '"final_adapter.0.weight" is unknown');
    await refused(withAdapters(undefined, on), '"early_adapters.0.0.weight" is unknown');
  });

  it("may be absent, early and final apart", async () => {
    const plan = await planOf(draft(), (source) => {
      withAdapters({ enabled: false }, { enabled: true })(source);
      for (const name of source.tensors.keys()) {
        if (name.startsWith("early_adapters")) source.tensors.delete(name);
      }
    });
    expect(plan.exits.map((exit) => exit.adapter)).toEqual([null, null]);
    expect(plan.final.adapter).not.toBeNull();
  });
});

describe("element types", () => {
  const retype = (pattern: RegExp, dtype: string) => (source: Draft) => {
    for (const [name, entry] of source.tensors) if (pattern.test(name)) entry.dtype = dtype;
  };

  it("may differ from matrix to matrix, and for norms and biases freely", async () => {
    const plan = await planOf(draft(), (source) => {
      retype(/./, "BF16")(source);
      retype(/norm|bias|o_proj|layers\.1\.mlp\.down/, "F32")(source);
      retype(/mlp\.(gate|up)|lm_head|early_norms\.0/, "F16")(source);
    });
    expectSound(plan);
    const type = (index: number | undefined) => plan.tensors[index ?? -1]?.type;
    expect(type(plan.layerPlans[1]?.query)).toBe("bf16");
    expect(type(plan.layerPlans[1]?.output)).toBe("f32");
    expect(type(plan.layerPlans[1]?.gate)).toBe("f16");
    expect(type(plan.exits[0]?.norm)).toBe("f16");
  });

  it("may differ for queries, keys and values together only if all layers agree", async () => {
    const all = await planOf(draft(), retype(/[qkv]_proj/, "BF16"));
    expectSound(all);
    await expectRefusal(
      draft(),
      retype(/layers\.1\.self_attn\.[qkv]_proj/, "BF16"),
      "ERR_NVIUM_UNSUPPORTED",
      '"model.layers.1.self_attn.k_proj.weight" has the type bf16',
      'expected f32 as "model.layers.0.self_attn.k_proj.weight" has',
    );
  });

  it.each([
    ["self_attn.q_proj", "self_attn.k_proj"],
    ["self_attn.k_proj", "self_attn.k_proj"],
    ["self_attn.v_proj", "self_attn.v_proj"],
    ["mlp.gate_proj", "mlp.up_proj"],
    ["mlp.up_proj", "mlp.up_proj"],
  ])("are refused where %s alone differs", (changed, named) =>
    expectRefusal(
      draft(),
      retype(new RegExp(`layers.2.${changed}`), "F16"),
      "ERR_NVIUM_UNSUPPORTED",
      "model.safetensors",
      `"model.layers.2.${named}.weight"`,
    ),
  );

  it("are summed up by the one most elements have", async () => {
    const checkpoint = await readCheckpoint(
      await write(denseDraft(), (source) => {
        retype(/./, "BF16")(source);
        retype(/norm|embed|head/, "F32")(source);
      }),
    );
    expect(checkpoint.dtype).toBe("bf16");
  });
});
