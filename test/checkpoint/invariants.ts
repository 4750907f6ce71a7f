/** What every plan must satisfy, whatever it was made from: the native side relies on each line. */

import { statSync } from "node:fs";
import { expect } from "vitest";
import type { ModelPlan, TensorIndex } from "../../lib/checkpoint/plan.js";

const BYTES = { bf16: 2, f16: 2, f32: 4, int8: 1, int4: 0.5 };

export function expectSound(plan: ModelPlan): void {
  const { hiddenSize: d, vocabSize, headDim } = plan;
  const uses = new Map<TensorIndex, number>();
  const use = (index: TensorIndex, rows: number | null, cols: number) => {
    uses.set(index, (uses.get(index) ?? 0) + 1);
    const tensor = plan.tensors[index];
    // Asserted by hand: an `expect` for each of a hundred tensors would make thousands of plans slow to check.
    if (tensor === undefined || tensor.cols !== cols || tensor.rows !== (rows ?? tensor.rows)) {
      expect.fail(`tensor ${index} is ${JSON.stringify(tensor)}, not [${rows ?? "any"}, ${cols}]`);
    }
    return tensor.rows;
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
  const sizes = plan.files.map((file) => statSync(file).size);
  for (const { name, file, offset, rows, cols, type } of plan.tensors) {
    const end = offset + rows * cols * BYTES[type];
    if (offset < 8 || end > (sizes[file] ?? 0)) expect.fail(`${name} lies outside its file`);
  }
}
