/** What the page shows of each benchmark's results. Every section is empty where its benchmark was not run. */
import { bars, lines } from "./chart.js";
import { charts, figure, folded, section, table } from "./page.js";

const ROWS = [1, 2, 4, 8, 16];
const ms = (seconds) => seconds * 1e3;
const µs = (seconds) => seconds * 1e6;
const threadsOf = (count) => `${count} thread${count === 1 ? "" : "s"}`;

/** @param {any[]} peers @param {any[]} decodes */
export function rowsAtOnce(peers, decodes) {
  const of = (contestants) => contestants.flatMap((c) => c.rows.map((r) => r.ratio));
  const most = Math.max(0, ...peers.flatMap((p) => p.results.flatMap((r) => of(r.contestants))));
  const figures = peers.flatMap((peer) =>
    peer.results.map(({ dtype, threads, contestants }) =>
      figure(
        `${peer.shape}, ${dtype}, ${threadsOf(threads)}`,
        lines({
          labels: ROWS.map(String),
          series: contestants.map((c) => ({ name: c.name, values: c.rows.map((r) => r.ratio) })),
          x: "rows computed at once, k",
          y: "t(k) / t(1)",
          most,
        }),
      ),
    ),
  );
  const native = decodes.flatMap((d) => d.native ?? []);
  return section(
    "What further rows cost",
    "Deferred tokens ride along with one that goes on: the flatter this line, the more of N-vium's saving is real. The whole model, 128 positions before.",
    [
      charts(figures),
      folded(
        "Segment 1 alone, without Node",
        table(
          ["", ...(native[0]?.passes ?? []).map((p) => `t(${p.rows})/t(1)`)],
          native.map((n) => [
            `${n.shape}, ${n.dtype}, ${threadsOf(n.threads)}`,
            ...n.passes.map((p) => p.ratio),
          ]),
        ),
      ),
    ],
  );
}

/** @param {any[]} peers */
export function peer(peers) {
  const rows = peers.flatMap((p) =>
    p.results.flatMap(({ dtype, threads, contestants }) =>
      contestants.map((c) => [
        `${p.shape}, ${dtype}, ${threadsOf(threads)}, ${c.name}`,
        c.tokensPerSecond,
        c.name === "nvium" ? "" : `× ${c.decodeRatio.toFixed(2)}`,
        c.promptTokensPerSecond,
        c.name === "nvium" ? "" : `× ${c.promptRatio.toFixed(2)}`,
      ]),
    ),
  );
  return section(
    "Beside llama.cpp",
    `The same dense shape; BF16 beside BF16, int8 beside Q8_0, int4 beside Q4_0, turn by turn in one run (${peers[0]?.peer ?? ""}). "Placed": its threads kept to processors of their own, as nvium does by itself.`,
    [table(["", "tokens/s", "nvium", "prompt, tokens/s", "nvium"], rows)],
  );
}

/** @param {any[]} decodes */
export function bandwidth(decodes) {
  const native = decodes.flatMap((d) => d.native ?? []);
  const twins = decodes.filter((d) => d.twin !== undefined);
  const steps =
    native.length === 0
      ? []
      : [
          figure(
            "One step of one row",
            bars({
              labels: native.map((n) => `${n.shape}, ${n.dtype}\n${threadsOf(n.threads)}`),
              series: [{ name: "share of the probe", values: native.map((n) => n.stepShare) }],
              x: "",
              y: "weights read / probe",
              line: { value: 1, name: "the probe" },
            }),
          ),
        ];
  const bytes =
    twins.length === 0
      ? []
      : [
          figure(
            "Bytes of weights read per token",
            bars({
              labels: twins.map((d) => d.shape),
              series: ["N-vium", "dense twin"].map((name, i) => ({
                name,
                values: twins.map((d) => d.twin.bytesPerToken[i] / 1e6),
              })),
              x: "shape",
              y: "MB per token",
            }),
          ),
        ];
  return section(
    "Bytes per token, and the memory's speed",
    "Decoding is bound by reading weights. The probe reads the same memory with plain loads beside every measurement; a share of 1 leaves nothing to gain.",
    [
      charts([...steps, ...bytes]),
      table(
        ["", "N-vium, tokens/s", "twin, tokens/s", "faster", "roof by bytes", "of the roof"],
        twins.map(({ shape, threads, twin }) => [
          `${shape}, ${threadsOf(threads)}, ${twin.prompts} prompts`,
          ...twin.tokensPerSecond,
          `× ${twin.speedup.toFixed(2)}`,
          `× ${twin.roof.toFixed(2)}`,
          twin.ofRoof,
        ]),
      ),
    ],
  );
}

/** @param {any} twin */
export function trained(twin) {
  if (twin === undefined) return "";
  const percent = (of) => of.map((p) => (100 * p).toFixed(1)).join(" / ");
  return section(
    "Two trained models",
    `The demo and its dense twin, ${threadsOf(twin.threads)}: ${twin.windows} windows of validation text, ${twin.prompts} texts continued in turns. Both lie in the caches.`,
    [
      table(
        ["", "perplexity", "left at, %", "layers a token", "MB a token", "tokens/s"],
        twin.names.map((name, m) => [
          name,
          twin.perplexity[m].toFixed(2),
          percent(twin.exitShares[m]),
          twin.layersPerToken[m].toFixed(2),
          twin.bytesPerToken[m] / 1e6,
          twin.tokensPerSecond[m],
        ]),
      ),
      `<p>× ${twin.speedup.toFixed(2)} in tokens/s, where bytes would allow ${twin.roof.toFixed(2)}; cross-entropy ${twin.difference.toFixed(4)} ± ${twin.standardError.toFixed(4)} nats against the twin's.</p>`,
    ],
  );
}

/** @param {any[]} decodes */
export function shares(decodes) {
  const found = decodes.find((d) => d.shares !== undefined)?.shares;
  if (found === undefined) return "";
  return section(
    "Speed against where tokens leave",
    `Shape ${found.shape} with routers set to given shares (exit 1 / 2 / 3 / full depth), against its dense twin in the same run.`,
    [
      charts([
        figure(
          "N-vium against its dense twin",
          bars({
            labels: found.sets.map((s) => `${s.name}\n${s.shares.map((p) => 100 * p).join(" ")} %`),
            series: [{ name: "times faster", values: found.sets.map((s) => s.speedup) }],
            marks: found.sets.map((s) => s.roof),
            marksName: "roof by bytes read",
            x: "",
            y: "times faster than the twin",
          }),
        ),
      ]),
    ],
  );
}

/** @param {any[]} decodes */
export function latencies(decodes) {
  const first = decodes
    .filter((d) => d.firstToken !== undefined)
    .map(({ shape, threads, firstToken: { lengths } }) =>
      figure(
        `Time to the first token, ${shape}, ${threadsOf(threads)}`,
        bars({
          labels: lengths.map((l) => String(l.length)),
          series: [
            { name: "whole prompt first", values: lengths.map((l) => ms(l.flushed)) },
            { name: "prompt deferred", values: lengths.map((l) => ms(l.deferred)) },
          ],
          x: "tokens of the prompt",
          y: "ms, mean",
        }),
      ),
    );
  const between = decodes
    .filter((d) => d.latency !== undefined)
    .map(({ shape, threads, latency: { bounds } }) =>
      figure(
        `Time between tokens, ${shape}, ${threadsOf(threads)}`,
        lines({
          labels: bounds.map((b) => (b.maxPending === "Infinity" ? "∞" : String(b.maxPending))),
          series: ["p50", "mean", "p90", "p99"].map((name) => ({
            name,
            values: bounds.map((b) => ms(b[name])),
          })),
          x: "maxPending: rows that may wait at a boundary",
          y: "ms",
        }),
      ),
    );
  const overhead = decodes.flatMap((d) => d.overhead ?? []);
  return section(
    "Latency",
    "A first token that leaves early needs only the segments below its exit, so most of the prompt can wait. A small maxPending takes up waiting rows sooner, at some cost in speed.",
    [
      charts([...first, ...between]),
      table(
        ["step() beyond the native time", "native, µs", "stepSync, µs", "step, µs", "step p90, µs"],
        overhead.map((o) => [
          `demo model, ${threadsOf(o.threads)}, event loop ${o.busy ? "busy" : "idle"}`,
          ...[o.native, o.sync, o.async, o.asyncP90].map(µs),
        ]),
      ),
    ],
  );
}

/** @param {any[]} decodes */
export function sequences(decodes) {
  const batches = decodes.filter((d) => d.batch !== undefined);
  const newcomers = decodes.filter((d) => d.newcomer?.timeline !== undefined);
  if (batches.length + newcomers.length === 0) return "";
  const together = batches.map(({ shape, threads, batch }) =>
    figure(
      `All sequences together against one, ${shape}, ${threadsOf(threads)}`,
      lines({
        labels: batch.map((b) => String(b.sequences)),
        series: [
          { name: "N-vium", values: batch.map((b) => b.againstOne) },
          { name: "dense twin", values: batch.map((b) => b.twinAgainstOne) },
        ],
        x: "sequences",
        y: "times the tokens/s of one",
      }),
    ),
  );
  const arriving = newcomers.map(({ shape, threads, newcomer: { timeline, prompt } }) => {
    const before = timeline.filter(([at]) => at < 0).length;
    return figure(
      `One of seven as a prompt of ${prompt} arrives, ${shape}, ${threadsOf(threads)}`,
      lines({
        labels: timeline.map((_, i) => ((i - before) % 10 === 0 ? String(i - before) : "")),
        series: [{ name: "time between tokens", values: timeline.map(([, gap]) => ms(gap)) }],
        x: "tokens, counted from the arrival",
        y: "ms",
      }),
    );
  });
  return section(
    "Many sequences",
    "Sequences decode together, a step of each in one pass over the weights. A long prompt is taken in pieces beside their steps.",
    [
      charts([...together, ...arriving]),
      table(
        ["", "sequences", "tokens/s", "against the twin's as many", "roof by bytes", "of the roof"],
        batches.flatMap(({ shape, threads, batch }) =>
          batch.map((b) => [
            `${shape}, ${threadsOf(threads)}`,
            b.sequences,
            b.tokensPerSecond,
            `× ${b.againstTwin.toFixed(2)}`,
            `× ${b.roof.toFixed(2)}`,
            b.ofRoof,
          ]),
        ),
      ),
      table(
        ["a prompt arrives", "time between the others' tokens", "time to its first token"],
        newcomers.map(({ shape, threads, newcomer: n }) => [
          `${shape}, ${threadsOf(threads)}, ${n.prompt} tokens`,
          `× ${n.besideRatio.toFixed(2)}`,
          `× ${n.firstRatio.toFixed(2)} of what it is alone`,
        ]),
      ),
    ],
  );
}

/** @param {any[]} decodes */
export function threads(decodes) {
  const rows = decodes.flatMap((d) =>
    (d.twoThreads?.shapes ?? []).map((r) => [
      r.name,
      r.decode[0],
      r.decode.at(-1),
      `× ${r.decodeRatio.toFixed(2)}`,
      r.prompt[0],
      r.prompt.at(-1),
      `× ${r.promptRatio.toFixed(2)}`,
    ]),
  );
  const head = ["", "decode, 1", "decode, all", "", "prompt of 512, 1", "prompt of 512, all", ""];
  return section("Threads", "Tokens a second with one thread and with all.", [table(head, rows)]);
}

/** @param {any} kernels */
export function operations(kernels) {
  if (kernels === undefined) return "";
  const parts = kernels.runs.map((run) => {
    const names = [...new Set(run.operations.filter((o) => o.streams).map((o) => o.name))];
    const ks = [...new Set(run.operations.map((o) => o.rows))];
    const of = (name, k) => run.operations.find((o) => o.name === name && o.rows === k);
    return folded(
      `${run.shape}, ${run.dtype}, ${threadsOf(run.threads)}, ${run.instructionSet}: probe ${(run.probe / 1e9).toFixed(1)} GB/s`,
      table(
        ["share of the probe (µs)", ...ks.map((k) => `k = ${k}`)],
        names.map((name) => [
          name,
          ...ks.map(
            (k) => `${of(name, k).share.toFixed(2)} (${µs(of(name, k).seconds).toFixed(0)})`,
          ),
        ]),
      ),
    );
  });
  return section(
    "Operations",
    "Each by itself over operands that no cache holds; the share of the probe that its weights, keys and values, or logits are read at.",
    parts,
  );
}
