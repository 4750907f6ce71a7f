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
  "embedding" | "layerPlans" | "exits" | "final" | "mustEqual" | "tensors"
>;

/** Claims every tensor of the model. What the table still holds afterwards is unknown. */
export function assemble(table: TensorTable, config: LlamaConfig, training: TrainingConfig): Parts {
  const mustEqual: [TensorIndex, TensorIndex][] = [];
  const vocabulary = vocabularyMatrices(table, config, training, mustEqual);
  const layerPlans = Array.from({ length: config.layers }, (_, i) => layer(table, config, i));
  checkCacheType(table, layerPlans);

  const d = config.hiddenSize;
  const { earlyAdapter, finalAdapter } = training;
  const early = earlyAdapter && adapters(table, d, earlyAdapter);
  const route = routers(table, d, training.router);
  const exits: ExitPlan[] = training.exits.map((afterLayer, k) => ({
    afterLayer,
    norm: table.claim(`early_norms.${k}.weight`, [d]),
    adapter: early?.(`early_adapters.${k}`) ?? null,
    head: vocabulary.early[k] ?? vocabulary.final,
    router: route(k),
  }));
  const final: OutletPlan = {
    norm: table.claim("model.norm.weight", [d]),
    adapter: (finalAdapter && adapters(table, d, finalAdapter)("final_adapter")) ?? null,
    head: vocabulary.final,
  };
  const { embedding } = vocabulary;
  return { embedding, layerPlans, exits, final, mustEqual, tensors: table.claimed };
}

/** The embedding and the heads. Of matrices that are tied any one suffices; the others must hold the same bytes. */
function vocabularyMatrices(
  table: TensorTable,
  { vocabSize, hiddenSize }: LlamaConfig,
  training: TrainingConfig,
  mustEqual: [TensorIndex, TensorIndex][],
) {
  const embeddingGroup = ["model.embed_tokens.weight"];
  const finalGroup = training.tieFinalToEmbeddings ? embeddingGroup : [];
  finalGroup.push("lm_head.weight");
  const earlyGroups = training.exits.map((_, k) => {
    const shared = { own: [], final: finalGroup, embeddings: embeddingGroup };
    const group: string[] = shared[training.earlyHeads];
    group.push(`early_lm_heads.${k}.weight`);
    return group;
  });

  const resolved = new Map<string[], TensorIndex>();
  for (const group of [embeddingGroup, finalGroup, ...earlyGroups]) {
    if (resolved.has(group)) continue;
    const present = group.filter((name) => table.has(name));
    if (present.length === 0 && group.length > 1) {
      const names = group.map(quote).join(", ");
      throw malformed(
        table.source,
        `of the tied tensors ${names} none is there, expected at least one`,
        {
          tensor: group[0],
        },
      );
    }
    const members = present.length > 0 ? present : group;
    const [first = 0, ...others] = members.map((name) =>
      table.claim(name, [vocabSize, hiddenSize]),
    );
    resolved.set(group, first);
    for (const other of others) {
      checkTied(table, first, other);
      mustEqual.push([first, other]);
    }
  }
  const indexOf = (group: string[]) => resolved.get(group) ?? 0;
  return {
    embedding: indexOf(embeddingGroup),
    final: indexOf(finalGroup),
    early: earlyGroups.map(indexOf),
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
  const plan: LayerPlan = {
    inputNorm: claim("input_layernorm", [d]),
    query: claim("self_attn.q_proj", [q, d]),
    key: claim("self_attn.k_proj", [kv, d]),
    value: claim("self_attn.v_proj", [kv, d]),
    output: claim("self_attn.o_proj", [d, q]),
    postNorm: claim("post_attention_layernorm", [d]),
    gate: claim("mlp.gate_proj", [ffn, d]),
    up: claim("mlp.up_proj", [ffn, d]),
    down: claim("mlp.down_proj", [d, ffn]),
  };
  checkSameType(table, plan.query, plan.key);
  checkSameType(table, plan.query, plan.value);
  checkSameType(table, plan.gate, plan.up);
  return plan;
}

/** Keys and values are cached in the type of the key projection, one for all layers. */
function checkCacheType(table: TensorTable, layers: readonly LayerPlan[]): void {
  const [first] = layers;
  for (const { key } of layers) checkSameType(table, first?.key ?? key, key);
}

/** Matrices that are multiplied with the same operand share a type. */
function checkSameType(table: TensorTable, first: TensorIndex, other: TensorIndex): void {
  const [a, b] = [table.at(first), table.at(other)];
  if (a.type === b.type) return;
  throw unsupported(
    table.fileOf(other),
    `tensor ${quote(b.name)} has the type ${b.type} beside ${quote(a.name)} of type ${a.type}, of which only equal types are supported`,
    { tensor: b.name, expected: a.type, actual: b.type },
  );
}

/** Claims adapters of one width: the stated one, or else that of the first. */
function adapters(table: TensorTable, d: number, { width }: StatedAdapter) {
  let a = width;
  return (name: string): AdapterPlan => {
    const up = table.claim(`${name}.0.weight`, [a, d]);
    a = table.at(up).rows;
    return { up, down: table.claim(`${name}.2.weight`, [d, a]) };
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
