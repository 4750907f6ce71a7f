import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, NviumError } from "../errors.js";
import { contentOf, isObject, readObject, tokenizerError } from "./files.js";

export interface ChatMessage {
  /** Who speaks: "system", "user", "assistant", or what else the template knows. */
  readonly role: string;
  readonly content: string;
}

export interface ChatTemplateSource {
  /** Path of `tokenizer_config.json`, null where there is none. */
  readonly tokenizerConfigFile: string | null;
}

export interface ChatPromptOptions {
  /** End with what opens the assistant's turn. Default: true. */
  readonly addGenerationPrompt?: boolean;
}

/**
 * Writes messages as the model's prompt. The result has its special tokens spelled out: encode it with
 * `addSpecialTokens: false`.
 */
export type ChatTemplate = (
  messages: readonly ChatMessage[],
  options?: ChatPromptOptions,
) => string;

/**
 * Reads the chat template from tokenizer_config.json, or from `chat_template.jinja` beside it.
 *
 * @param name which template, where the file has several. Default: "default".
 */
export async function loadChatTemplate(
  source: ChatTemplateSource,
  name = "default",
): Promise<ChatTemplate> {
  const file = source.tokenizerConfigFile;
  const config = await readObject(file);
  const text =
    templateNamed(config.chat_template, name) ??
    (file === null || name !== "default"
      ? undefined
      : await readIfThere(join(dirname(file), "chat_template.jinja")));
  if (file === null || text === undefined) {
    throw new NviumError(
      "ERR_NVIUM_TOKENIZER",
      file === null
        ? "The checkpoint has no tokenizer_config.json, where a chat template would be"
        : `${file}: no chat template named ${JSON.stringify(name)}`,
      { file, field: "chat_template", expected: name },
    );
  }

  const { Template } = await import("@huggingface/jinja");
  const template = attempt(file, "the chat template cannot be parsed", () => new Template(text));
  // `bos_token`, `eos_token` and whatever else the file names.
  const tokens = Object.fromEntries(
    Object.entries(config)
      .filter(([key]) => key.endsWith("_token"))
      .map(([key, value]) => [key, contentOf(value)])
      .filter(([, content]) => content !== undefined),
  );
  return (messages, { addGenerationPrompt = true } = {}) => {
    checkMessages(messages);
    return attempt(file, "the chat template failed", () =>
      template.render({
        ...tokens,
        messages,
        add_generation_prompt: addGenerationPrompt,
        tools: null,
        documents: null,
      }),
    );
  };
}

/** A template, or a list of `{ name, template }`. */
function templateNamed(value: unknown, name: string): string | undefined {
  if (typeof value === "string") return name === "default" ? value : undefined;
  if (!Array.isArray(value)) return undefined;
  const found: unknown = value.find((entry) => isObject(entry) && entry.name === name);
  return isObject(found) && typeof found.template === "string" ? found.template : undefined;
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw tokenizerError(file, messageOf(cause), {}, cause);
  }
}

function attempt<T>(file: string, problem: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw tokenizerError(
      file,
      `${problem}: ${messageOf(cause)}`,
      { field: "chat_template" },
      cause,
    );
  }
}

function checkMessages(messages: readonly ChatMessage[]): void {
  const ok =
    Array.isArray(messages) &&
    messages.every((m) => typeof m?.role === "string" && typeof m.content === "string");
  if (ok) return;
  throw new NviumError(
    "ERR_NVIUM_INVALID_ARG",
    "The messages must be an array of { role, content }, both strings",
    { argument: "messages", expected: "{ role: string, content: string }[]" },
  );
}
