/** N-vium against its dense twin of equal parameters, on this runtime. */
import { compare, contest } from "../lib/contest.js";
import { open, prompted, withModels } from "../lib/models.js";
import { table } from "../lib/results.js";
import { median } from "../lib/stats.js";

/** @param {{ shape: string, threads: number, prompts: import("../lib/prompts.js").Prompt[], tokens: number }} options */
export function twin({ shape, threads, prompts, tokens }) {
  return withModels(
    [open(shape, threads), open(`${shape}-dense`, threads)],
    async (ours, dense) => {
      const all = [];
      const wholes = [];
      for (const [i, prompt] of prompts.entries()) {
        const a = await prompted(ours, prompt.tokens, { seed: i });
        const b = await prompted(dense, prompt.tokens, { seed: i });
        const turns = await contest([a.session, b.session], tokens);
        all.push(...turns);
        const one = compare(turns);
        wholes.push(
          (b.seconds + tokens / one.tokensPerSecond[1]) /
            (a.seconds + tokens / one.tokensPerSecond[0]),
        );
        await Promise.all([a.session.dispose(), b.session.dispose()]);
      }
      const result = {
        ...compare(all),
        withPrompt: median(wholes),
        prompts: prompts.length,
        tokens,
      };
      table(
        `${shape} against ${shape}-dense, ${prompts.length} prompts, ${tokens} tokens each, ${threads} threads`,
        ["", "tokens/s", "MB a token"],
        [
          [shape, result.tokensPerSecond[0], result.bytesPerToken[0] / 1e6],
          [`${shape}-dense`, result.tokensPerSecond[1], result.bytesPerToken[1] / 1e6],
        ],
      );
      console.log(
        `  × ${result.speedup.toFixed(2)} (prompt included × ${result.withPrompt.toFixed(2)}); ` +
          `roof by bytes × ${result.roof.toFixed(2)}, of which ${result.ofRoof.toFixed(3)} was reached`,
      );
      return result;
    },
  );
}
