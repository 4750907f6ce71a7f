/** From messages to a prompt, by the templates of a checkpoint. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { checkOptions, flag, invalid, type OptionNames } from "../checks.js";
import { messageOf, NviumError } from "../errors.js";
import type { AddedToken } from "./encoder.js";
import { isObject, readIfThere, tokenizerError } from "./files.js";
import { compileTemplate, type Template } from "./jinja/template.js";

export interface ChatMessage {
  /** Who speaks: "system", "user", "assistant", or what else the template knows. */
  readonly role: string;
  /** What is said: a text, or parts or nothing where the template knows what to do with them. */
  readonly content?: unknown;
  /** Whatever else the template looks at, such as `tool_calls`. */
  readonly [field: string]: unknown;
}

export interface ChatOptions {
  /** End with what opens the assistant's turn. Default: true. */
  readonly addGenerationPrompt?: boolean;
  /** Tools the model may call, as the template expects them; most take JSON schemas. Default: none. */
  readonly tools?: readonly unknown[];
  /** Documents the model may use, as the template expects them. Default: none. */
  readonly documents?: readonly unknown[];
  /** Which template, where there are several. Default: "tool_use" where there are tools and it exists, else "default". */
  readonly template?: string;
  /** Other variables of the template, such as `enable_thinking`. Default: none. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

export interface Chat {
  /**
   * Writes messages as the model's prompt. The result has its special tokens spelled out: encode it with
   * `addSpecialTokens: false`. Throws ERR_NVIUM_TOKENIZER, ERR_NVIUM_INVALID_ARG.
   */
  render(messages: readonly ChatMessage[], options?: ChatOptions): string;
  /** The special token that the template writes behind what the assistant says, null where it writes none. */
  readonly turnEnd: number | null;
}

export interface ChatSource {
  /** Where `chat_template.jinja` and `additional_chat_templates` may be. */
  readonly directory: string;
  /** Texts of special tokens by their names. */
  readonly names: Readonly<Record<string, string>>;
  /** `chat_template` of tokenizer_config.json, as it stands: a template, or a list of `{ name, template }`. */
  readonly field: unknown;
  /** In place of all of them. */
  readonly given: string | undefined;
  readonly added: ReadonlyMap<string, AddedToken>;
}

interface Source {
  /** Where it is from, for messages. */
  readonly file: string;
  readonly text: string;
}

/** Reads the templates; a file counts before the field of the same name. Rejects with ERR_NVIUM_TOKENIZER. */
export async function loadChat(source: ChatSource): Promise<Chat> {
  const { names, added } = source;
  const sources = await readTemplates(source);
  if (sources.size === 0) {
    throw new NviumError(
      "ERR_NVIUM_TOKENIZER",
      `${source.directory}: no chat template, in chat_template.jinja or tokenizer_config.json`,
      { file: null, field: "chat_template" },
    );
  }
  const compiled = new Map<string, Template>();
  const template = (name: string) => {
    const found = sources.get(name);
    if (found === undefined) {
      const there = [...sources.keys()].join(", ");
      throw new NviumError(
        "ERR_NVIUM_TOKENIZER",
        `${source.directory}: no chat template named ${JSON.stringify(name)}, only ${there}`,
        { file: source.directory, field: "chat_template", expected: name },
      );
    }
    const ready =
      compiled.get(name) ??
      attempt(found.file, "the chat template cannot be parsed", () => compileTemplate(found.text));
    compiled.set(name, ready);
    return (variables: Readonly<Record<string, unknown>>) =>
      attempt(found.file, "the chat template failed", () => ready(variables));
  };
  const render: Chat["render"] = (messages, options = {}) => {
    checkMessages(messages);
    const { addGenerationPrompt, tools, documents, name, variables } = checkChat(options, sources);
    return template(name)({
      ...names,
      messages,
      tools,
      documents,
      add_generation_prompt: addGenerationPrompt,
      ...variables,
    });
  };
  return { render, turnEnd: turnEnd(render, added) };
}

async function readTemplates({
  directory,
  field,
  given,
}: ChatSource): Promise<Map<string, Source>> {
  if (given !== undefined) return new Map([["default", { file: "chatTemplate", text: given }]]);
  const found = new Map<string, Source>();
  const file = join(directory, "tokenizer_config.json");
  if (typeof field === "string") found.set("default", { file, text: field });
  if (Array.isArray(field)) {
    for (const entry of field) {
      if (isObject(entry) && typeof entry.name === "string" && typeof entry.template === "string") {
        found.set(entry.name, { file, text: entry.template });
      }
    }
  }
  const main = join(directory, "chat_template.jinja");
  const text = await readIfThere(main);
  if (text !== undefined) found.set("default", { file: main, text });
  const folder = join(directory, "additional_chat_templates");
  for (const entry of await readdir(folder).catch(() => [])) {
    if (!entry.endsWith(".jinja")) continue;
    const file = join(folder, entry);
    found.set(entry.slice(0, -".jinja".length), { file, text: await readFile(file, "utf8") });
  }
  return found;
}

/** What stands behind the assistant's words tells how its turn ends, whatever the configuration says. */
function turnEnd(render: Chat["render"], added: ReadonlyMap<string, AddedToken>): number | null {
  const words = "what the assistant says";
  let text: string;
  try {
    const messages = [
      { role: "user", content: "what the user says" },
      { role: "assistant", content: words },
    ];
    text = render(messages, { addGenerationPrompt: false });
  } catch {
    return null;
  }
  const at = text.lastIndexOf(words);
  const rest = at < 0 ? "" : text.slice(at + words.length).trimStart();
  const ends = [...added.values()].filter((t) => t.special && rest.startsWith(t.content));
  const [longest] = ends.sort((a, b) => b.content.length - a.content.length);
  return longest?.id ?? null;
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

const CHAT_OPTIONS: OptionNames<ChatOptions> = {
  addGenerationPrompt: true,
  tools: true,
  documents: true,
  template: true,
  variables: true,
};

function checkChat(options: ChatOptions, sources: ReadonlyMap<string, Source>) {
  const {
    addGenerationPrompt = true,
    tools,
    documents,
    template,
    variables = {},
  } = checkOptions(options, CHAT_OPTIONS, " What is a template's own goes in variables.");
  flag("addGenerationPrompt", addGenerationPrompt);
  for (const [name, list] of Object.entries({ tools, documents })) {
    if (list !== undefined && !Array.isArray(list)) throw invalid(name, "a list", list);
  }
  if (template !== undefined && typeof template !== "string") {
    throw invalid("template", "the name of a template", template);
  }
  if (!isObject(variables)) throw invalid("variables", "an object", variables);
  const byDefault = tools !== undefined && sources.has("tool_use") ? "tool_use" : "default";
  const name = template ?? byDefault;
  return {
    addGenerationPrompt,
    tools: tools ?? null,
    documents: documents ?? null,
    name,
    variables,
  };
}

function checkMessages(messages: readonly ChatMessage[]): void {
  const ok = Array.isArray(messages) && messages.every((m) => typeof m?.role === "string");
  if (ok) return;
  throw new NviumError(
    "ERR_NVIUM_INVALID_ARG",
    "The messages must be an array of { role, content }, role a string",
    { argument: "messages", expected: "{ role: string, content: string }[]" },
  );
}
