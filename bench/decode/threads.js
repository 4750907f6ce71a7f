/** Two threads against one, and prompts: the dense twin and N-vium, decoding and reading 512 tokens. */
import { contest } from "../lib/contest.js";
import { open, prompted, withModels } from "../lib/models.js";
import { plainPrompt } from "../lib/prompts.js";
import { table } from "../lib/results.js";
import { median, rotated } from "../lib/stats.js";

const PROMPT = 512;

/** @param {{ shape: string, threads: number, rounds: number, tokens: number }} options */
export async function threads({ shape, threads: many, rounds, tokens }) {
  const results = [];
  for (const name of [shape, `${shape}-dense`]) {
    const counts = many > 1 ? [1, many] : [1];
    const result = await withModels(
      counts.map((count) => open(name, count)),
      async (...models) => {
        const prompt = plainPrompt(PROMPT, 32000);
        const prompts = models.map(() => []);
        for (let round = 0; round < rounds; round++) {
          for (const model of rotated(models, round)) {
            const { session, seconds } = await prompted(model, prompt);
            prompts[models.indexOf(model)].push(seconds);
            await session.dispose();
          }
        }
        const sessions = [];
        for (const model of models) {
          sessions.push((await prompted(model, prompt.slice(0, 128), { seed: 1 })).session);
        }
        const turns = await contest(sessions, tokens);
        return {
          name,
          prompt: prompts.map((seconds) => PROMPT / median(seconds)),
          promptRatio: median(prompts[0].map((one, r) => one / (prompts.at(-1)?.[r] ?? one))),
          decode: models.map((_, i) => median(turns.map((t) => t[i].tokens / t[i].seconds))),
          decodeRatio: median(turns.map((turn) => turn[0].seconds / turn.at(-1).seconds)),
        };
      },
    );
    results.push(result);
  }
  table(
    `${many} threads against one, tokens/s`,
    ["", "decode, 1", `decode, ${many}`, "×", "prompt, 1", `prompt, ${many}`, "×"],
    results.map((r) => [
      r.name,
      r.decode[0],
      r.decode.at(-1),
      r.decodeRatio,
      r.prompt[0],
      r.prompt.at(-1),
      r.promptRatio,
    ]),
  );
  return { promptTokens: PROMPT, threads: many, shapes: results };
}
