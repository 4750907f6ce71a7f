/** From messages to a prompt: where templates come from, what they are given, and what they say of the end of a turn. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Chat, type ChatMessage, type ChatOptions, loadChat } from "../../lib/text/chat.js";
import { readSettings } from "../../lib/text/settings.js";
import { expectError, expectRejection, writeFiles } from "./helpers.js";

const template =
  "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}[assistant]{% endif %}";
const names = { bos_token: "<s>", eos_token: { content: "</s>", lstrip: false } };
const messages: ChatMessage[] = [
  { role: "user", content: "Hi {{ bos_token }}" },
  { role: "assistant", content: "Hello" },
];

interface Given {
  readonly files?: Record<string, string>;
  readonly given?: string;
  readonly special?: readonly string[];
}

/** A chat as a checkpoint with this tokenizer_config.json has it; null for none. */
async function load(
  config: unknown,
  { files = {}, given, special = [] }: Given = {},
): Promise<Chat> {
  const top = Object.entries(files).filter(([name]) => !name.includes("/"));
  const configs = config === null ? {} : { "tokenizer_config.json": config };
  const directory = writeFiles({ ...configs, ...Object.fromEntries(top) });
  for (const [name, content] of Object.entries(files)) {
    if (!name.includes("/")) continue;
    mkdirSync(join(directory, name, ".."), { recursive: true });
    writeFileSync(join(directory, name), content);
  }
  const file = config === null ? null : join(directory, "tokenizer_config.json");
  const settings = await readSettings(directory, file);
  const added = special.map((content, id) => [content, { id, content, special: true }] as const);
  return loadChat({
    directory,
    names: settings.names,
    field: settings.template,
    given,
    added: new Map(added),
  });
}

test("messages are written with special tokens and the opening of the next turn", async () => {
  const chat = await load({ ...names, chat_template: template });
  const text = "<s>[user]Hi {{ bos_token }}</s>[assistant]Hello</s>";
  expect(chat.render(messages)).toBe(`${text}[assistant]`);
  expect(chat.render(messages, { addGenerationPrompt: false })).toBe(text);
  expect(chat.render([])).toBe("<s>[assistant]");
});

test("special tokens may be named in special_tokens_map.json alone", async () => {
  const map = JSON.stringify(names);
  const chat = await load(
    { chat_template: template },
    { files: { "special_tokens_map.json": map } },
  );
  expect(chat.render([])).toBe("<s>[assistant]");
});

test("a template is chosen by name from a list, the one for tools where there are tools", async () => {
  const chat_template = [
    { name: "default", template: "one" },
    { name: "tool_use", template: "two" },
  ];
  const chat = await load({ chat_template });
  expect(chat.render([])).toBe("one");
  expect(chat.render([], { template: "tool_use" })).toBe("two");
  expect(chat.render([], { tools: [] })).toBe("two");
  expect(chat.render([], { tools: [], template: "default" })).toBe("one");
  const error = expectError(() => chat.render([], { template: "rag" }), "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain('"rag"');
  expect(error.message).toContain("default, tool_use");
});

test("files count before the field, with or without a tokenizer_config.json", async () => {
  const files = {
    "chat_template.jinja": "{{ eos_token }}!",
    "additional_chat_templates/rag.jinja": "rag",
  };
  const chat = await load({ ...names, chat_template: "old" }, { files });
  expect(chat.render([])).toBe("</s>!");
  expect(chat.render([], { template: "rag" })).toBe("rag");
  expect((await load(null, { files })).render([])).toBe("!");
});

test("a template that is given counts before all others", async () => {
  const files = { "chat_template.jinja": "file" };
  const chat = await load(
    { chat_template: "field" },
    { files, given: "given {{ messages|length }}" },
  );
  expect(chat.render(messages)).toBe("given 2");
});

test("lines may end as on Windows", async () => {
  const text = "{% for m in messages %}\r\n[{{ m.role }}]\r\n{% endfor %}\r\nend\r\n";
  for (const chat of [
    await load({ chat_template: text }),
    await load(null, { files: { "chat_template.jinja": text } }),
  ]) {
    expect(chat.render(messages)).toBe("[user]\n[assistant]\nend");
  }
});

test("tools, documents and a template's own variables are handed on, whatever messages hold too", async () => {
  const chat_template =
    "{{ tools }}{{ documents }}{{ enable_thinking }}{{ messages[0].tool_calls[0].function.arguments | tojson }}{{ messages[0].content }}";
  const chat = await load({ chat_template });
  const calls = [{ function: { name: "f", arguments: { city: "Zürich", n: 1.5 } } }];
  const asked: ChatMessage[] = [{ role: "assistant", content: null, tool_calls: calls }];
  expect(
    chat.render(asked, {
      tools: [{ a: true }],
      documents: ["d"],
      variables: { enable_thinking: false },
    }),
  ).toBe(`[{'a': True}]['d']False{"city": "Zürich", "n": 1.5}None`);
  expect(chat.render(asked)).toBe(`NoneNone{"city": "Zürich", "n": 1.5}None`);
});

test.each([
  [{ enable_thinking: true }, "enable_thinking"],
  [{ addGenerationPrompt: "yes" }, "addGenerationPrompt"],
  [{ tools: {} }, "tools"],
  [{ documents: "d" }, "documents"],
  [{ template: 1 }, "template"],
  [{ variables: [] }, "variables"],
  [null, "options"],
])("%j is refused", async (options, argument) => {
  const chat = await load({ chat_template: template });
  const action = () => chat.render([], options as unknown as ChatOptions);
  expect(expectError(action, "ERR_NVIUM_INVALID_ARG").message).toContain(argument);
});

test("what stands behind the assistant's words ends its turn", async () => {
  const chatml =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
  const special = ["<|im", "<|im_start|>", "<|im_end|>"];
  expect((await load({ chat_template: chatml }, { special })).turnEnd).toBe(2);
  const spaced = "{% for m in messages %}{{ m.content }} </s>{% endfor %}";
  expect((await load({ chat_template: spaced }, { special: ["</s>"] })).turnEnd).toBe(0);
  for (const chat_template of [
    "{{ messages[1].content }} then </s>",
    "{{ raise_exception('no') }}",
    "",
  ]) {
    expect((await load({ chat_template }, { special: ["</s>"] })).turnEnd).toBeNull();
  }
});

test("no template is an error that says where one was looked for", async () => {
  for (const config of [{}, { chat_template: 3 }, null]) {
    const error = await expectRejection(load(config), "ERR_NVIUM_TOKENIZER");
    expect(error.message).toContain("chat_template.jinja");
  }
});

test("a template that cannot be parsed is an error with its file and line", async () => {
  const chat = await load(null, { files: { "chat_template.jinja": "a\n{% for" } });
  const error = expectError(() => chat.render([]), "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain(
    "chat_template.jinja: the chat template cannot be parsed: line 2",
  );
});

test("what a template raises is in the error", async () => {
  const chat = await load({ chat_template: "{{ raise_exception('roles must alternate') }}" });
  const error = expectError(() => chat.render(messages), "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain("roles must alternate");
});

test.each([[null], ["hello"], [[null]], [[{ role: 1, content: "" }]], [[{ content: "" }]]])(
  "%j are no messages",
  async (bad) => {
    const chat = await load({ chat_template: template });
    expectError(() => chat.render(bad as ChatMessage[]), "ERR_NVIUM_INVALID_ARG");
  },
);
