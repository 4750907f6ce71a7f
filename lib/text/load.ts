/** All that a checkpoint says of text: its tokenizer, the tokens that end a text, its chat templates. */
import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { integer, invalid } from "../checks.js";
import { NviumError } from "../errors.js";
import { type Chat, loadChat } from "./chat.js";
import { isObject, readObjectIfThere, tokenizerError } from "./files.js";
import { directoryOf, readSettings, type TokenizerSettings } from "./settings.js";
import { type LoadedTokenizer, loadTokenizer } from "./tokenizer.js";

/** What can be given in place of what the checkpoint says. */
export interface TextOptions {
  /**
   * The tokenizer: the path or URL of a directory that has a tokenizer.json or of such a file, with what lies beside it, or
   * the parsed content of one. Default: the checkpoint's, if it has one.
   */
  readonly tokenizer?: string | URL | object;
  /** The chat template, in Jinja. Default: the checkpoint's, if it has one. */
  readonly chatTemplate?: string;
  /** Tokens that end a text. Default: all that config.json, generation_config.json and the tokenizer name. */
  readonly eosTokens?: readonly number[];
}

export interface TextSource {
  readonly directory: string;
  /** Paths of tokenizer.json and tokenizer_config.json where they exist. */
  readonly tokenizerFile: string | null;
  readonly tokenizerConfigFile: string | null;
  readonly vocabSize: number;
  /** From config.json. */
  readonly eosTokens: readonly number[];
}

export interface CheckpointText {
  /** Null where the checkpoint has none and none is given. */
  readonly tokenizer: LoadedTokenizer | null;
  readonly eosTokens: readonly number[];
  /** Reads the chat templates when first asked. Rejects with ERR_NVIUM_TOKENIZER. */
  chat(): Promise<Chat>;
}

/** Throws ERR_NVIUM_INVALID_ARG where a value cannot be meant. */
export function checkTextOptions(options: TextOptions): void {
  const { tokenizer, chatTemplate, eosTokens } = options;
  const path = typeof tokenizer === "string" ? tokenizer !== "" : true;
  if (
    tokenizer !== undefined &&
    !(path && (typeof tokenizer === "string" || isObject(tokenizer)))
  ) {
    throw invalid("tokenizer", "a path, a URL or the content of a tokenizer.json", tokenizer);
  }
  if (chatTemplate !== undefined && typeof chatTemplate !== "string") {
    throw invalid("chatTemplate", "the text of a template", chatTemplate);
  }
  if (eosTokens !== undefined && !Array.isArray(eosTokens)) {
    throw invalid("eosTokens", "a list of tokens", eosTokens);
  }
}

/** Rejects with ERR_NVIUM_TOKENIZER, ERR_NVIUM_BINDING, ERR_NVIUM_INVALID_ARG or the signal's reason. */
export async function loadText(
  source: TextSource,
  options: TextOptions,
  signal: AbortSignal | undefined,
): Promise<CheckpointText> {
  const { vocabSize } = source;
  const given = options.eosTokens?.map((token, i) =>
    integer(`eosTokens[${i}]`, token, 0, vocabSize - 1),
  );
  const { tokenizer: own } = options;
  const files = isPath(own) ? await filesAt(own) : source;
  const settings = await readSettings(
    directoryOf(files.tokenizerFile) ?? source.directory,
    files.tokenizerConfigFile,
  );
  const content = own === undefined || isPath(own) ? undefined : own;
  const tokenizer =
    files.tokenizerFile === null && content === undefined
      ? null
      : await loadTokenizer({ ...files, vocabSize, content, settings }, signal);
  try {
    const eosTokens = given ?? (await endTokens(source, tokenizer));
    const directory = directoryOf(files.tokenizerFile) ?? source.directory;
    return { tokenizer, eosTokens, chat: once(() => chatOf(directory, settings, tokenizer)) };
  } catch (error) {
    await tokenizer?.dispose();
    throw error;
  }

  function chatOf(
    directory: string,
    { names, template }: TokenizerSettings,
    tokenizer: LoadedTokenizer | null,
  ): Promise<Chat> {
    const added = tokenizer?.added ?? new Map();
    return loadChat({ directory, names, field: template, given: options.chatTemplate, added });
  }
}

function isPath(tokenizer: TextOptions["tokenizer"]): tokenizer is string | URL {
  // A URL may come from another realm.
  return (
    typeof tokenizer === "string" || (isObject(tokenizer) && typeof tokenizer.href === "string")
  );
}

/** The files of a tokenizer that lies elsewhere. */
async function filesAt(place: string | URL) {
  const path = resolve(typeof place === "string" ? place : fileURLToPath(place.href));
  const status = await stat(path).catch((cause: unknown) => {
    throw new NviumError(
      "ERR_NVIUM_TOKENIZER",
      `${path}: cannot be opened.`,
      { file: path },
      cause,
    );
  });
  const tokenizerFile = status.isDirectory() ? join(path, "tokenizer.json") : path;
  const beside = join(directoryOf(tokenizerFile) ?? ".", "tokenizer_config.json");
  const there = await stat(beside).catch(() => null);
  return { tokenizerFile, tokenizerConfigFile: there === null ? null : beside };
}

/**
 * Whatever a checkpoint calls the end of a text is one: released ones name the end of a turn in one place only, and
 * not always the same.
 */
async function endTokens(
  { directory, vocabSize, eosTokens }: TextSource,
  tokenizer: LoadedTokenizer | null,
): Promise<readonly number[]> {
  const file = join(directory, "generation_config.json");
  const { eos_token_id: value = null } = await readObjectIfThere(file);
  const named: unknown[] = value === null ? [] : Array.isArray(value) ? value : [value];
  for (const token of named) {
    if (typeof token === "number" && Number.isInteger(token)) continue;
    throw tokenizerError(file, `eos_token_id is ${JSON.stringify(value)}, expected token ids`, {
      field: "eos_token_id",
    });
  }
  const own = tokenizer?.eosToken ?? null;
  const all = [...eosTokens, ...(named as number[]), ...(own === null ? [] : [own])];
  // A token that the model lacks is never drawn.
  return [...new Set(all)].filter((token) => token >= 0 && token < vocabSize);
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
