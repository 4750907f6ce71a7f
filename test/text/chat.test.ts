import { join } from "node:path";
import { expect, test } from "vitest";
import { type ChatMessage, loadChatTemplate } from "../../lib/text/chat.js";
import { demo, expectError, expectRejection, writeFiles } from "./helpers.js";

const template =
  "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}[assistant]{% endif %}";
const names = { bos_token: "<s>", eos_token: { content: "</s>", lstrip: false } };
const messages: ChatMessage[] = [
  { role: "user", content: "Hi {{ bos_token }}" },
  { role: "assistant", content: "Hello" },
];

function load(config: unknown, name?: string, others: Record<string, unknown> = {}) {
  const directory = writeFiles({ "tokenizer_config.json": config, ...others });
  return loadChatTemplate({ tokenizerConfigFile: join(directory, "tokenizer_config.json") }, name);
}

test("messages are written with special tokens and the opening of the next turn", async () => {
  const chat = await load({ ...names, chat_template: template });
  const text = "<s>[user]Hi {{ bos_token }}</s>[assistant]Hello</s>";
  expect(chat(messages)).toBe(`${text}[assistant]`);
  expect(chat(messages, { addGenerationPrompt: false })).toBe(text);
  expect(chat([])).toBe("<s>[assistant]");
});

test("a template is chosen by name from a list", async () => {
  const chat_template = [
    { name: "default", template: "one" },
    { name: "tool_use", template: "two" },
  ];
  expect((await load({ chat_template }))([])).toBe("one");
  expect((await load({ chat_template }, "tool_use"))([])).toBe("two");
  const error = await expectRejection(load({ chat_template }, "rag"), "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain('"rag"');
});

test("a template may lie in a file of its own", async () => {
  const chat = await load(names, undefined, { "chat_template.jinja": "{{ eos_token }}!" });
  expect(chat([])).toBe("</s>!");
});

test("no template is an error that says where one was looked for", async () => {
  const error = await expectRejection(loadChatTemplate(demo), "ERR_NVIUM_TOKENIZER");
  expect(error.details.file).toBe(demo.tokenizerConfigFile);
  await expectRejection(loadChatTemplate({ tokenizerConfigFile: null }), "ERR_NVIUM_TOKENIZER");
  await expectRejection(load({ chat_template: 3 }), "ERR_NVIUM_TOKENIZER");
});

test("a template that cannot be parsed is an error", async () => {
  const error = await expectRejection(load({ chat_template: "{% for" }), "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain("cannot be parsed");
});

test("what a template raises is in the error", async () => {
  const chat = await load({ chat_template: "{{ raise_exception('roles must alternate') }}" });
  const error = expectError(() => chat(messages), "ERR_NVIUM_TOKENIZER");
  expect(error.message).toContain("roles must alternate");
});

test.each([[null], ["hello"], [[null]], [[{ role: "user" }]], [[{ role: 1, content: "" }]]])(
  "%j are no messages",
  async (bad) => {
    const chat = await load({ chat_template: template });
    expectError(() => chat(bad as ChatMessage[]), "ERR_NVIUM_INVALID_ARG");
  },
);
