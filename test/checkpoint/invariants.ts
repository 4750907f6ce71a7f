/** What every plan must satisfy, whatever it was made from: the native side relies on each line. */

import { statSync } from "node:fs";
import { expect } from "vitest";
import type { ModelPlan, TensorIndex } from "../../lib/checkpoint/plan.js";

const BYTES = { bf16: 2, f16: 2, f32: 4 };

export function expectSound(plan: ModelPlan): void {
  const { hiddenSize: d, vocabSize, headDim } = plan;
  const uses = new Map<TensorIndex, number>();
  const use = (index: TensorIndex, rows: number | null, cols: number) => {
    uses.set(index, (uses.get(index) ?? 0) + 1);
    const tensor = plan.tensors[index];
    expect(tensor).toMatchObject({ rows: rows ?? tensor?.rows, cols });
    return tensor?.rows ?? 0;
  };

  use(plan.embedding, vocabSize, d);
  expect(plan.layerPlans).toHaveLength(plan.layers);
  expect(plan.heads % plan.kvHeads).toBe(0);
  expect(headDim % 2).toBe(0);
  for (const layer of plan.layerPlans) {
    use(layer.inputNorm, d, 1);
    use(layer.query, plan.heads * headDim, d);
    use(layer.key, plan.kvHeads * headDim, d);
    use(layer.value, plan.kvHeads * headDim, d);
    use(layer.output, d, plan.heads * headDim);
    use(layer.postNorm, d, 1);
    use(layer.gate, plan.intermediateSize, d);
    use(layer.up, plan.intermediateSize, d);
    use(layer.down, d, plan.intermediateSize);
  }
  let last = 0;
  for (const outlet of [...plan.exits, plan.final]) {
    use(outlet.norm, d, 1);
    use(outlet.head, vocabSize, d);
    if (outlet.adapter) use(outlet.adapter.down, d, use(outlet.adapter.up, null, d));
  }
  for (const { afterLayer, router } of plan.exits) {
    expect(afterLayer).toBeGreaterThan(last);
    expect(afterLayer).toBeLessThan(plan.layers);
    last = afterLayer;
    let inputs = d;
    for (const block of router.blocks) {
      const m = use(block.fc1Weight, null, inputs);
      use(block.fc1Bias, m, 1);
      inputs = use(block.fc2Weight, null, m);
      use(block.fc2Bias, inputs, 1);
    }
    use(router.norm, inputs, 1);
    use(router.headWeight, 2, inputs);
    use(router.headBias, 2, 1);
  }
  for (const [first, copy] of plan.mustEqual) {
    expect(uses.has(first)).toBe(true);
    expect(uses.has(copy)).toBe(false);
    expect(plan.tensors[copy]?.type).toBe(plan.tensors[first]?.type);
    use(copy, vocabSize, d);
  }
  expect([...uses.keys()].sort((a, b) => a - b)).toEqual([...plan.tensors.keys()]);
  for (const { file, offset, rows, cols, type } of plan.tensors) {
    const { size } = statSync(plan.files[file] ?? "");
    expect(offset).toBeGreaterThanOrEqual(8);
    expect(offset + rows * cols * BYTES[type]).toBeLessThanOrEqual(size);
  }
}
