// Synthetic checkpoints in the published format: generated weights, routers that leave at given shares.
//
//   node bench/checkpoint.js S S-dense M     writes them into bench/.cache/ and prints where
import { existsSync, linkSync, mkdirSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CACHE } from "./lib/paths.js";
import { writeSafetensors } from "./lib/safetensors.js";
import { PAPER_SHARES, shape } from "./lib/shapes.js";
import { bf16, writeMatrix, writeOnes } from "./lib/weights.js";

/** Part of the directories' names: another generator makes other files. */
const VERSION = 1;
const WEIGHTS = "model-00001-of-00002.safetensors";
const ODDS = "model-00002-of-00002.safetensors";

/**
 * Writes a checkpoint unless it is there, and gives its directory. Checkpoints of one shape share the file of their weights.
 * @param {string} name as `shape` takes it
 * @param {readonly number[]} [shares] of the tokens that leave at each exit
 */
export function checkpoint(name, shares = PAPER_SHARES) {
  const model = shape(name, shares);
  const suffix = shares === PAPER_SHARES || !model.exits ? "" : `-${shares.join("-")}`;
  const directory = join(CACHE, `${name}${suffix}-v${VERSION}`);
  const index = join(directory, "model.safetensors.index.json");
  if (existsSync(index)) return directory;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(join(directory, ".hydra"), { recursive: true });
  const weights = [...backbone(model), ...(model.exits ? exits(model) : [])];
  const odds = routerHeads(model);
  if (suffix === "") writeSafetensors(join(directory, WEIGHTS), weights);
  else linkSync(join(checkpoint(name), WEIGHTS), join(directory, WEIGHTS));
  if (odds.length > 0) writeSafetensors(join(directory, ODDS), odds);
  const json = (file, value) =>
    writeFileSync(join(directory, file), `${JSON.stringify(value, null, 2)}\n`);
  json("config.json", config(model));
  writeFileSync(join(directory, ".hydra", "config.yaml"), training(model));
  const map = [...weights.map((t) => [t.name, WEIGHTS]), ...odds.map((t) => [t.name, ODDS])];
  json(basename(index), { metadata: {}, weight_map: Object.fromEntries(map) });
  return directory;
}

let salt = 0;
/** @returns {import("./lib/safetensors.js").Tensor} */
function matrix(name, rows, cols) {
  const mine = salt++;
  return { name, shape: [rows, cols], write: (file) => writeMatrix(file, rows, cols, mine) };
}

/** @returns {import("./lib/safetensors.js").Tensor} */
const ones = (name, count) => ({ name, shape: [count], write: (file) => writeOnes(file, count) });

/** @returns {import("./lib/safetensors.js").Tensor} */
const values = (name, shape, list) => ({
  name,
  shape,
  write: (file) => writeSync(file, new Uint8Array(Uint16Array.from(list, bf16).buffer)),
});

function backbone({ layers, hidden, ffn, heads, headDim, vocab }) {
  const width = heads * headDim;
  const tensors = [matrix("model.embed_tokens.weight", vocab, hidden)];
  for (let i = 0; i < layers; i++) {
    const layer = `model.layers.${i}`;
    tensors.push(
      ones(`${layer}.input_layernorm.weight`, hidden),
      ...["q", "k", "v"].map((p) => matrix(`${layer}.self_attn.${p}_proj.weight`, width, hidden)),
      matrix(`${layer}.self_attn.o_proj.weight`, hidden, width),
      ones(`${layer}.post_attention_layernorm.weight`, hidden),
      matrix(`${layer}.mlp.gate_proj.weight`, ffn, hidden),
      matrix(`${layer}.mlp.up_proj.weight`, ffn, hidden),
      matrix(`${layer}.mlp.down_proj.weight`, hidden, ffn),
    );
  }
  return [...tensors, ones("model.norm.weight", hidden), matrix("lm_head.weight", vocab, hidden)];
}

const routerWidth = (hidden) => Math.floor((hidden * 2) / 3);

function exits({ hidden: d }) {
  const adapter = (name) => [matrix(`${name}.0.weight`, d, d), matrix(`${name}.2.weight`, d, d)];
  const m = routerWidth(d);
  const one = (k) => [
    ones(`early_norms.${k}.weight`, d),
    ...adapter(`early_adapters.${k}`),
    matrix(`router_layers.${k}.layers.0.fc1.weight`, m, d),
    ones(`router_layers.${k}.layers.0.fc1.bias`, m),
    matrix(`router_layers.${k}.layers.0.fc2.weight`, d, m),
    ones(`router_layers.${k}.layers.0.fc2.bias`, d),
    ones(`router_final_norms.${k}.weight`, d),
  ];
  return [...[0, 1, 2].flatMap(one), ...adapter("final_adapter")];
}

/** A router whose head has no weights: its bias alone, the log-odds of leaving, sets the share. */
function routerHeads({ hidden, shares, exits }) {
  if (!exits) return [];
  let left = 1;
  return [0, 1, 2].flatMap((k) => {
    const q = left > 1e-9 ? (shares[k] ?? 0) / left : 1;
    left -= shares[k] ?? 0;
    const odds = Math.max(-40, Math.min(40, Math.log(q / (1 - q))));
    return [
      values(`router_heads.${k}.weight`, [2, hidden], new Array(2 * hidden).fill(0)),
      values(`router_heads.${k}.bias`, [2], [0, odds]),
    ];
  });
}

function config({ layers, hidden, ffn, heads, headDim, vocab }) {
  return {
    architectures: ["NviumModel"],
    attention_bias: false,
    bos_token_id: 1,
    eos_token_id: 2,
    head_dim: headDim,
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: ffn,
    max_position_embeddings: 4096,
    mlp_bias: false,
    model_type: "llama",
    num_attention_heads: heads,
    num_hidden_layers: layers,
    num_key_value_heads: heads,
    rms_norm_eps: 1e-6,
    rope_scaling: null,
    rope_theta: 10000,
    tie_word_embeddings: false,
    torch_dtype: "bfloat16",
    vocab_size: vocab,
  };
}

function training({ layers, hidden, exits }) {
  return `model_type: ${exits ? "Nvium" : "baseline"}
early_layer_idx:
- ${layers / 4}
- ${layers / 2}
- ${(layers * 3) / 4}
temperature: 1.0
tying:
  tie_final_to_embeddings: false
  tie_early_to_final: true
  tie_early_to_embeddings: false
router:
  router_type: simple_mlp
  router_temp: 1.0
  hidden_size: ${hidden}
  intermediate_size: ${routerWidth(hidden)}
  num_layers: 1
early_adapter:
  enabled: true
  dim: ${hidden}
final_adapter:
  enabled: true
  dim: ${hidden}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of process.argv.slice(2)) console.log(checkpoint(name));
}
