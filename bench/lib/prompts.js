/** The first turns of Spec-Bench's questions, as tokens. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { install } from "./install.js";
import { BENCH } from "./paths.js";

const MOST_TOKENS = 896;
const BEGIN = 1;

/**
 * @typedef {object} Prompt
 * @property {number} id
 * @property {string} category
 * @property {number[]} tokens
 */

/** `count` prompts spread evenly over all 480, and so over the categories. @param {number} count @returns {Promise<Prompt[]>} */
export async function prompts(count) {
  install(BENCH, "@lenml/llama2-tokenizer-vocab-llama2");
  const { Llama2Tokenizer } = await import("@lenml/llama2-tokenizer");
  const { load_vocab } = await import("@lenml/llama2-tokenizer-vocab-llama2");
  const tokenizer = new Llama2Tokenizer();
  tokenizer.install_vocab(load_vocab());
  const lines = readFileSync(join(BENCH, "data", "spec-bench-questions.jsonl"), "utf8");
  const questions = lines.trim().split("\n").map(JSON.parse);
  const most = Math.min(count, questions.length);
  return Array.from({ length: most }, (_, i) => {
    const question = questions[Math.floor(((i + 0.5) * questions.length) / most)];
    // SentencePiece puts a space before a text.
    const tokens = [BEGIN, ...tokenizer.encode(` ${question.turns[0]}`)].slice(0, MOST_TOKENS);
    return { id: question.question_id, category: question.category, tokens };
  });
}

/** A prompt of exactly `length` tokens. @param {number} length @param {number} vocab */
export const plainPrompt = (length, vocab) =>
  Array.from({ length }, (_, i) => (300 + i * 7919) % vocab);
