/** The model's parts, each made of the tensors the format names for it (SPEC §4). */

import type { LlamaConfig } from "./config.js";
import { malformed, quote, unsupported } from "./failure.js";
import type { ExpectedShape, TensorTable } from "./names.js";
import type {
  AdapterPlan,
  ExitPlan,
  LayerPlan,
  ModelPlan,
  OutletPlan,
  RouterBlockPlan,
  RouterPlan,
  TensorIndex,
} from "./plan.js";
import type { StatedAdapter, StatedRouter, TrainingConfig } from "./training.js";

/** The parts of a plan that are tensors. */
export type Parts = Pick<
  ModelPlan,
  "embedding" | "layerPlans" | "exits" | "final" | "mustEqual" | "tensors" | "cacheType"
> & {
  /** Heads that are the table of embeddings once more, quantised. */
  readonly copies: readonly TensorIndex[];
};

/** Claims every tensor of the model. What the table still holds afterwards is unknown. */
export function assemble(table: TensorTable, config: LlamaConfig, training: TrainingConfig): Parts {
  const vocabulary = vocabularyMatrices(table, config, training);
  const layerPlans = Array.from({ length: config.layers }, (_, i) => layer(table, config, i));
  const cacheType = cacheTypeOf(table, layerPlans);

  const d = config.hiddenSize;
  const { earlyAdapter, finalAdapter } = training;
  const early = earlyAdapter && adapters(table, d, earlyAdapter);
  const route = routers(table, d, training.router);
  const exits: ExitPlan[] = vocabulary.early.map(({ afterLayer, head }, k) => ({
    afterLayer,
    norm: table.claim(`early_norms.${k}.weight`, [d]),
    adapter: early?.(`early_adapters.${k}`) ?? null,
    head,
    router: route(k),
  }));
  const final: OutletPlan = {
    norm: table.claim("model.norm.weight", [d]),
    adapter: (finalAdapter && adapters(table, d, finalAdapter)("final_adapter")) ?? null,
    head: vocabulary.final,
  };
  const { embedding, mustEqual, copies } = vocabulary;
  return {
    embedding,
    layerPlans,
    exits,
    final,
    mustEqual,
    cacheType,
    copies,
    tensors: table.claimed,
  };
}

/** Names of tensors that share one matrix. */
type Tied = [string, ...string[]];

/** The embedding and the heads. Of matrices that are tied any one suffices; the others must hold the same bytes. */
function vocabularyMatrices(
  table: TensorTable,
  { vocabSize, hiddenSize }: LlamaConfig,
  { exits, tieFinalToEmbeddings, earlyHeads }: TrainingConfig,
) {
  const embedding: Tied = ["model.embed_tokens.weight"];
  const final: Tied = tieFinalToEmbeddings ? embedding : ["lm_head.weight"];
  if (tieFinalToEmbeddings) embedding.push("lm_head.weight");
  const early = exits.map((afterLayer, k) => {
    const name = `early_lm_heads.${k}.weight`;
    if (earlyHeads === "own") return { afterLayer, group: [name] as Tied };
    const group = earlyHeads === "final" ? final : embedding;
    group.push(name);
    return { afterLayer, group };
  });

  const mustEqual: [TensorIndex, TensorIndex][] = [];
  const claimAll = (group: Tied, wanted: (name: string) => boolean): TensorIndex => {
    const present = group.filter((name) => table.has(name) && wanted(name));
    if (present.length === 0 && group.length > 1) {
      const names = group.map(quote).join(", ");
      const what = `of the tied tensors ${names} none is there, expected at least one`;
      throw malformed(table.source, what, { tensor: group[0] });
    }
    const claim = (name: string) => table.claimMatrix(name, [vocabSize, hiddenSize]);
    const [name = group[0], ...copies] = present;
    const first = claim(name);
    for (const copy of copies.map(claim)) {
      checkTied(table, first, copy);
      mustEqual.push([first, copy]);
      const [scales, others] = [table.at(first).scales, table.at(copy).scales];
      if (scales !== undefined && others !== undefined) mustEqual.push([scales, others]);
    }
    return first;
  };
  const claimed = new Map<Tied, TensorIndex>();
  const copies: TensorIndex[] = [];
  // The table stays as stored: heads tied to it are matrices of their own where they are integers.
  const first = claimAll(embedding, (name) => !table.holdsIntegers(name));
  if (embedding.some(table.holdsIntegers)) {
    const head = claimAll(embedding, table.holdsIntegers);
    claimed.set(embedding, head);
    copies.push(head);
  } else {
    claimed.set(embedding, first);
  }
  const indexOf = (group: Tied): TensorIndex => {
    const index = claimed.get(group) ?? claimAll(group, () => true);
    claimed.set(group, index);
    return index;
  };
  return {
    embedding: first,
    final: indexOf(final),
    early: early.map(({ afterLayer, group }) => ({ afterLayer, head: indexOf(group) })),
    mustEqual,
    copies,
  };
}

function checkTied(table: TensorTable, first: TensorIndex, other: TensorIndex): void {
  const [a, b] = [table.at(first), table.at(other)];
  if (a.type === b.type) return;
  throw malformed(
    table.fileOf(other),
    `tensor ${quote(b.name)} has the type ${b.type}, expected ${a.type} as ${quote(a.name)}, to which it is tied`,
    { tensor: b.name, expected: a.type, actual: b.type },
  );
}

function layer(table: TensorTable, config: LlamaConfig, i: number): LayerPlan {
  const { hiddenSize: d, intermediateSize: ffn, headDim } = config;
  const [q, kv] = [config.heads * headDim, config.kvHeads * headDim];
  const claim = (name: string, shape: ExpectedShape) =>
    table.claim(`model.layers.${i}.${name}.weight`, shape);
  const matrix = (name: string, shape: ExpectedShape) =>
    table.claimMatrix(`model.layers.${i}.${name}.weight`, shape);
  const plan: LayerPlan = {
    inputNorm: claim("input_layernorm", [d]),
    query: matrix("self_attn.q_proj", [q, d]),
    key: matrix("self_attn.k_proj", [kv, d]),
    value: matrix("self_attn.v_proj", [kv, d]),
    output: matrix("self_attn.o_proj", [d, q]),
    postNorm: claim("post_attention_layernorm", [d]),
    gate: matrix("mlp.gate_proj", [ffn, d]),
    up: matrix("mlp.up_proj", [ffn, d]),
    down: matrix("mlp.down_proj", [d, ffn]),
  };
  checkSameType(table, plan.query, plan.key);
  checkSameType(table, plan.query, plan.value);
  checkSameType(table, plan.gate, plan.up);
  return plan;
}

/** Keys and values are cached in the type of the key projection, one for all layers: bf16, or else f32. */
function cacheTypeOf(table: TensorTable, layers: readonly LayerPlan[]): "bf16" | "f32" {
  const [first] = layers;
  for (const { key } of layers) checkSameType(table, first?.key ?? key, key);
  const key = first && table.at(first.key);
  if (key?.scales !== undefined && table.quantised !== null) return table.quantised.cacheType;
  return key?.type === "bf16" ? "bf16" : "f32";
}

/** Matrices that are multiplied with the same operand share a type. */
function checkSameType(table: TensorTable, first: TensorIndex, other: TensorIndex): void {
  const [a, b] = [table.at(first), table.at(other)];
  if (a.type === b.type) return;
  throw unsupported(
    table.fileOf(other),
    `tensor ${quote(b.name)} has the type ${b.type}, expected ${a.type} as ${quote(a.name)} has: a mixture is not supported here`,
    { tensor: b.name, expected: a.type, actual: b.type },
  );
}

/** Claims adapters of one width: the stated one, or else that of the first. */
function adapters(table: TensorTable, d: number, { width }: StatedAdapter) {
  let a = width;
  return (name: string): AdapterPlan => {
    const up = table.claimMatrix(`${name}.0.weight`, [a, d]);
    a = table.at(up).rows;
    return { up, down: table.claimMatrix(`${name}.2.weight`, [d, a]) };
  };
}

/** Claims routers of one shape: the stated one, or else that of the first. */
function routers(table: TensorTable, d: number, stated: StatedRouter) {
  let { blocks: count, intermediateSize: m, hiddenSize: h } = stated;

  const block = (name: string, inputs: number | null): RouterBlockPlan => {
    const fc1Weight = table.claim(`${name}.fc1.weight`, [m, inputs]);
    m = table.at(fc1Weight).rows;
    const fc1Bias = table.claim(`${name}.fc1.bias`, [m]);
    const fc2Weight = table.claim(`${name}.fc2.weight`, [h, m]);
    h = table.at(fc2Weight).rows;
    return { fc1Weight, fc1Bias, fc2Weight, fc2Bias: table.claim(`${name}.fc2.bias`, [h]) };
  };

  return (k: number): RouterPlan => {
    count ??= countBlocks(table, k);
    const blocks = Array.from({ length: count }, (_, j) =>
      block(`router_layers.${k}.layers.${j}`, j === 0 ? d : h),
    );
    return {
      blocks,
      norm: table.claim(`router_final_norms.${k}.weight`, [h]),
      headWeight: table.claim(`router_heads.${k}.weight`, [2, h]),
      headBias: table.claim(`router_heads.${k}.bias`, [2]),
    };
  };
}

/** Blocks the tensors show a router to have; at least the one every router has. */
function countBlocks(table: TensorTable, k: number): number {
  let count = 1;
  while (table.has(`router_layers.${k}.layers.${count}.fc1.weight`)) count++;
  return count;
}
