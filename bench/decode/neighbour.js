/** Beside a process that spins, which takes a processor whenever it is let: two threads against one, and alone. */
import { spawn } from "node:child_process";
import { open, prompted, withModels } from "../lib/models.js";
import { plainPrompt } from "../lib/prompts.js";
import { table } from "../lib/results.js";
import { median, rotated, timed } from "../lib/stats.js";

const PROMPT = 256;

/** @param {{ shape: string, threads: number, rounds: number, tokens: number }} options */
export async function neighbour({ shape, threads, rounds, tokens }) {
  const counts = threads > 1 ? [1, threads] : [1];
  const results = await withModels(
    counts.map((count) => open(`${shape}-dense`, count)),
    async (...models) => {
      const samples = models.map(() => ({ alone: [], beside: [] }));
      const prompt = plainPrompt(PROMPT, 32000);
      for (let round = 0; round < rounds; round++) {
        for (const how of round % 2 === 0 ? ["alone", "beside"] : ["beside", "alone"]) {
          const stop = how === "beside" ? spinner() : () => {};
          for (const model of rotated(models, round)) {
            samples[models.indexOf(model)][how].push(await measure(model, prompt, tokens));
          }
          await stop();
        }
      }
      return samples.map((sample, i) => ({
        threads: counts[i],
        ...Object.fromEntries(
          ["alone", "beside"].map((how) => [
            how,
            {
              decode: tokens / median(sample[how].map(({ decode }) => decode)),
              prompt: PROMPT / median(sample[how].map(({ prompt }) => prompt)),
            },
          ]),
        ),
      }));
    },
  );
  const [one] = results;
  table(
    `Beside a spinning process, ${shape}-dense, tokens/s, and × one thread`,
    ["", "decode", "×", "prompt", "×"],
    ["alone", "beside"].flatMap((how) =>
      results.map((r) => [
        `${r.threads} thread${r.threads > 1 ? "s" : ""}, ${how}`,
        r[how].decode,
        r[how].decode / one[how].decode,
        r[how].prompt,
        r[how].prompt / one[how].prompt,
      ]),
    ),
  );
  return { promptTokens: PROMPT, results };
}

/** Seconds of a prompt and of what is decoded behind it. */
async function measure(model, prompt, tokens) {
  const { session, seconds } = await prompted(model, prompt, { seed: 1 });
  const { seconds: decode } = await timed(async () => {
    for await (const _ of session.decode(tokens));
  });
  await session.dispose();
  return { prompt: seconds, decode };
}

/** Starts a process that spins; ends it when called. */
function spinner() {
  const child = spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" });
  const exit = new Promise((resolve) => child.once("exit", resolve));
  return async () => {
    child.kill("SIGKILL");
    await exit;
  };
}
