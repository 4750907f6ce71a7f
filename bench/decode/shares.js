/** Speed against where tokens leave. */
import { compare, contest } from "../lib/contest.js";
import { open, prompted, withModels } from "../lib/models.js";
import { table } from "../lib/results.js";
import { SHARE_SETS } from "../lib/shapes.js";

/** @param {{ threads: number, prompts: import("../lib/prompts.js").Prompt[], tokens: number }} options */
export async function shares({ threads, prompts, tokens }) {
  const shape = "S";
  const results = await withModels([open(`${shape}-dense`, threads)], async (dense) => {
    const results = [];
    for (const [name, set] of Object.entries(SHARE_SETS)) {
      const turns = await withModels([open(shape, threads, set)], async (ours) => {
        const turns = [];
        for (const [i, prompt] of prompts.entries()) {
          const a = await prompted(ours, prompt.tokens, { seed: i });
          const b = await prompted(dense, prompt.tokens, { seed: i });
          turns.push(...(await contest([a.session, b.session], tokens)));
          await Promise.all([a.session.dispose(), b.session.dispose()]);
        }
        return turns;
      });
      results.push({ name, shares: set, ...compare(turns) });
    }
    return results;
  });
  table(
    `${shape} by exit shares, against ${shape}-dense`,
    ["shares", "tokens/s", "dense", "×", "roof", "of roof"],
    results.map((r) => [
      `${r.name} (${r.shares.join(" / ")})`,
      ...r.tokensPerSecond,
      r.speedup,
      r.roof,
      r.ofRoof,
    ]),
  );
  return { shape, sets: results };
}
