/**
 * The checked description of a checkpoint: what the native side needs in order to read and pack the weights, and
 * nothing else. Making it reads headers and configuration only, never a tensor's values.
 */

/** Element type of a stored tensor. Integers have their scales in another tensor (SPEC §4). */
export type DType = "bf16" | "f16" | "f32" | "int8" | "int4";

/** Where one tensor lies. Shapes are row-major; vectors have `cols === 1`. */
export interface TensorPlan {
  /** As written in the file. */
  readonly name: string;
  /** Index into `ModelPlan.files`. */
  readonly file: number;
  /** Absolute byte offset in the file. */
  readonly offset: number;
  readonly rows: number;
  readonly cols: number;
  readonly type: DType;
  /** Of integers: the tensor that holds their scales, [rows, groups]. */
  readonly scales?: TensorIndex;
}

/** Index into `ModelPlan.tensors`. */
export type TensorIndex = number;

/** Rotary embedding, half-split layout (SPEC §4). */
export interface RotaryPlan {
  readonly theta: number;
  readonly scaling:
    | { readonly type: "default" }
    | { readonly type: "linear"; readonly factor: number }
    | {
        readonly type: "llama3";
        readonly factor: number;
        readonly lowFrequencyFactor: number;
        readonly highFrequencyFactor: number;
        /** Positions of the original training context. */
        readonly originalContext: number;
      };
}

/** Residual adapter `z + down · SiLU(up · z)`. */
export interface AdapterPlan {
  /** [a, d] */
  readonly up: TensorIndex;
  /** [d, a] */
  readonly down: TensorIndex;
}

export interface LayerPlan {
  readonly inputNorm: TensorIndex;
  readonly query: TensorIndex;
  readonly key: TensorIndex;
  readonly value: TensorIndex;
  readonly output: TensorIndex;
  readonly postNorm: TensorIndex;
  readonly gate: TensorIndex;
  readonly up: TensorIndex;
  readonly down: TensorIndex;
}

/** One block `F2 · GELU(F1 · x + b1) + b2` of a router. */
export interface RouterBlockPlan {
  readonly fc1Weight: TensorIndex;
  readonly fc1Bias: TensorIndex;
  readonly fc2Weight: TensorIndex;
  readonly fc2Bias: TensorIndex;
}

export interface RouterPlan {
  readonly blocks: readonly RouterBlockPlan[];
  readonly norm: TensorIndex;
  /** [2, h]; row 0 continues, row 1 exits. */
  readonly headWeight: TensorIndex;
  readonly headBias: TensorIndex;
}

/** How hidden states become logits at one depth: norm, adapter if any, head. */
export interface OutletPlan {
  readonly norm: TensorIndex;
  readonly adapter: AdapterPlan | null;
  /** [V, d]; the same index as another outlet's or the embedding's where they are tied. */
  readonly head: TensorIndex;
}

export interface ExitPlan extends OutletPlan {
  /** Layers run before this exit, 1-based count. */
  readonly afterLayer: number;
  readonly router: RouterPlan;
}

export interface ModelPlan {
  readonly layers: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  readonly normEpsilon: number;
  /** `max_position_embeddings`. */
  readonly contextLength: number;
  readonly rotary: RotaryPlan;
  /** Divides every router's logit difference. */
  readonly routerTemperature: number;

  /** Absolute paths of the safetensors files. */
  readonly files: readonly string[];
  readonly tensors: readonly TensorPlan[];

  readonly embedding: TensorIndex;
  /** `layers` of them. */
  readonly layerPlans: readonly LayerPlan[];
  /** N - 1 of them, ascending by `afterLayer`; empty for a standard transformer. */
  readonly exits: readonly ExitPlan[];
  readonly final: OutletPlan;
  /** What keys and values are kept as. */
  readonly cacheType: "bf16" | "f32";
  /**
   * Members of tied groups that are present more than once: each pair must hold the same bytes.
   * The first of a pair is the one used above.
   */
  readonly mustEqual: readonly (readonly [TensorIndex, TensorIndex])[];
}

/** A checkpoint as found: the plan, and what belongs to it without being weights. */
export interface Checkpoint {
  readonly directory: string;
  readonly plan: ModelPlan;
  /** From config.json; empty when it names none. */
  readonly bosTokens: readonly number[];
  readonly eosTokens: readonly number[];
  /** `tokenizer.json` and `tokenizer_config.json` where they exist. */
  readonly tokenizerFile: string | null;
  readonly tokenizerConfigFile: string | null;
  /** The YAML's `inference` block as it stands: nothing of it is applied (SPEC §3). */
  readonly inference: unknown;
  /** The training configuration, where there is one. */
  readonly trainingFile: string | null;
  /** The element type most weights are stored in. */
  readonly dtype: DType;
  /** Parameters, tied tensors counted once. */
  readonly parameters: number;
}
