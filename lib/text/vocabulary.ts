import { isObject, type JsonObject, tokenizerError } from "./files.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special?: unknown;
}

/** Everything in tokenizer.json that has an id, checked against the model. */
export interface VocabularyFile {
  /** The model's section, its type filled in. */
  readonly model: JsonObject;
  readonly added: readonly AddedToken[];
  /** Pieces by id. */
  readonly pieces: readonly (string | undefined)[];
  readonly ids: ReadonlyMap<string, number>;
}

const MODEL_TYPES = ["BPE", "Unigram", "WordPiece", "WordLevel"];

export function readVocabulary(json: JsonObject, file: string, vocabSize: number): VocabularyFile {
  const { model, added_tokens: added = [] } = json;
  const fault = (field: string, problem: string, details = {}) =>
    tokenizerError(file, `"${field}" ${problem}`, { field, ...details });
  if (!isObject(model)) throw fault("model", "must be an object");
  const type = model.type ?? typeOfOld(model);
  if (typeof type !== "string" || !MODEL_TYPES.includes(type)) {
    const actual = type === undefined ? "missing" : JSON.stringify(type);
    throw fault("model.type", `is ${actual}; expected ${MODEL_TYPES.join(", ")}`);
  }

  const pieces: (string | undefined)[] = [];
  const ids = new Map<string, number>();
  const place = (field: string, piece: unknown, id: unknown): void => {
    if (typeof piece !== "string") throw fault(field, "has a token that is not a string");
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= vocabSize) {
      const given = `gives ${JSON.stringify(piece)} the id ${JSON.stringify(id)}`;
      const expected = `0 to ${vocabSize - 1}`;
      const size = `the model has ${vocabSize} tokens, ${expected}`;
      throw fault(field, `${given}, but ${size}`, { expected, actual: id });
    }
    pieces[id] = piece;
    ids.set(piece, id);
  };

  const { vocab } = model;
  if (type === "Unigram") {
    if (!Array.isArray(vocab)) throw fault("model.vocab", "of a Unigram must be an array");
    for (const [id, entry] of vocab.entries()) place("model.vocab", entry?.[0], id);
  } else {
    if (!isObject(vocab)) throw fault("model.vocab", `of a ${type} must be an object`);
    for (const [piece, id] of Object.entries(vocab)) place("model.vocab", piece, id);
  }
  if (!Array.isArray(added)) throw fault("added_tokens", "must be an array");
  for (const token of added) place("added_tokens", token?.content, token?.id);
  return { model: { ...model, type }, added, pieces, ids };
}

/** Old files leave the type out. */
function typeOfOld({ merges, vocab }: JsonObject): string | undefined {
  if (Array.isArray(merges)) return "BPE";
  return Array.isArray(vocab) ? "Unigram" : undefined;
}
