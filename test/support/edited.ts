/** Checkpoints whose routers and overflows a test decides: edited copies of quadrivium-gqa-f32. */
import { type Copy, copyFixture } from "./checkpoints.js";

const floats = (bytes: Buffer) =>
  Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
const write = (bytes: Buffer, change: (value: number, i: number) => number) => {
  for (const [i, value] of floats(bytes).entries()) bytes.writeFloatLE(change(value, i), 4 * i);
};

/** Every token leaves at exit `exit` of 4. */
export function leavingAt(exit: number): Copy {
  const copy = copyFixture("quadrivium-gqa-f32");
  for (let k = 0; k < 3; k++) {
    const leave = k + 1 === exit ? 1000 : -1000;
    copy.edit(`router_heads.${k}.bias`, (bytes) => {
      write(bytes, (_, i) => (i === 1 ? leave : -leave));
    });
  }
  return copy;
}

/** Values from layer `layer` on are not finite where `token` is in the sequence. */
export function poisonedBy(token: number, layer: number): Copy {
  const copy = copyFixture("quadrivium-gqa-f32");
  const width = 64;
  // Column 0 of the hidden state is 0 but where the token is, and the layer cannot bear it.
  copy.edit("model.embed_tokens.weight", (bytes) => {
    write(bytes, (value, i) => (i % width !== 0 ? value : Math.floor(i / width) === token ? 1 : 0));
  });
  for (let l = 0; l <= layer; l++) {
    const clearRow = (bytes: Buffer) => {
      const columns = bytes.length / 4 / width;
      write(bytes, (value, i) => (i < columns ? 0 : value));
    };
    copy.edit(`model.layers.${l}.self_attn.o_proj.weight`, clearRow);
    if (l < layer) copy.edit(`model.layers.${l}.mlp.down_proj.weight`, clearRow);
  }
  copy.edit(`model.layers.${layer}.mlp.gate_proj.weight`, (bytes) => {
    write(bytes, (value, i) => (i % width === 0 ? 3e38 : value));
  });
  copy.edit(`model.layers.${layer}.post_attention_layernorm.weight`, (bytes) => {
    write(bytes, (value, i) => (i === 0 ? 1000 : value));
  });
  return copy;
}

/** One token in two leaves at exit 1, whose head gives infinite logits. */
export function brokenHead(): Copy {
  const copy = copyFixture("quadrivium-gqa-f32");
  for (const part of ["weight", "bias"]) {
    copy.edit(`router_heads.0.${part}`, (bytes) => bytes.fill(0));
  }
  for (const part of [0, 2]) {
    copy.edit(`early_adapters.0.${part}.weight`, (bytes) => {
      write(bytes, (value) => (value < 0 ? -1e30 : 1e30));
    });
  }
  return copy;
}
