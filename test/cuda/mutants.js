// Breaks the kernels and the host code around them, one line at a time, and asks the tests of operations to notice.
//
//   node test/cuda/mutants.js <build folder> [part of a name, or a file]
//
// The build folder holds the finished cuda_operations_test and cuda_failure_test, configured with -DCMAKE_EXPORT_COMPILE_COMMANDS=ON. Sources are
// changed in a copy. Prints what caught each: a checker's report, wrong bytes, or an error.
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";

/** name, file, what is there, what is put in its place, the tests that run, and the program they are in if not operations */
const MUTANTS = [
  [
    "staging barrier missing",
    "project.cuh",
    "stage(begin, leads && t == first && half == 0);\n            __syncthreads();",
    "stage(begin, leads && t == first && half == 0);",
    "projections",
  ],
  [
    "no barrier before sums are added",
    "project.cuh",
    "multiply(tile, begin, chunks);\n          __syncthreads();",
    "multiply(tile, begin, chunks);",
    "projections",
  ],
  [
    "no barrier before sums are overwritten",
    "project.cuh",
    "__syncthreads();  // what was read of the shared memory before has been read",
    "",
    "chunks",
  ],
  [
    "chunk sums added in descending order",
    "project.cuh",
    "total += sums_[c * T::kSumWords + i]",
    "total += sums_[(count - 1 - c) * T::kSumWords + i]",
    "projections",
  ],
  [
    "even element of a pair first",
    "project.cuh",
    "        sums[r][n] = numerics::fma(high, odd[r], sums[r][n]);\n        sums[r][n] = numerics::fma(low, even[r], sums[r][n]);",
    "        sums[r][n] = numerics::fma(low, even[r], sums[r][n]);\n        sums[r][n] = numerics::fma(high, odd[r], sums[r][n]);",
    "projections",
  ],
  [
    "totals begin anew each round",
    "project.cuh",
    "begin == 0 ? 0.0f : totals[i]",
    "0.0f",
    "chunks",
  ],
  [
    "the last pair of K left out",
    "project.cuh",
    "for (; pair < pairs; pair++)",
    "for (; pair + 1 < pairs; pair++)",
    "projections",
  ],
  [
    "a pair too many",
    "project.cuh",
    "int(left < kChunkPairs ? left : kChunkPairs)",
    "int(left < kChunkPairs ? left + 1 : kChunkPairs)",
    "one_column",
  ],
  [
    "columns past the end staged",
    "project.cuh",
    "if (row >= p_.rows || k >= p_.cols) return 0.0f;",
    "if (row >= p_.rows) return 0.0f;",
    "projections",
  ],
  [
    "rows past the end staged",
    "project.cuh",
    "if (row >= p_.rows || k >= p_.cols) return 0.0f;",
    "if (k >= p_.cols) return 0.0f;",
    "projections",
  ],
  [
    "operands of the neighbouring pair",
    "project.cuh",
    "reinterpret_cast<const uint4*>(chunk + quad_at<T>(pair, quad))",
    "reinterpret_cast<const uint4*>(chunk + quad_at<T>(pair ^ 1, quad))",
    "projections",
  ],
  [
    "bias after the activation",
    "project.cuh",
    "if (p_.bias != nullptr) value += p_.bias[column];\n",
    "",
    "projections",
  ],
  [
    "residual of the row above",
    "project.cuh",
    "value += p_.residual[size_t(row) * p_.width + column]",
    "value += p_.residual[size_t(row == 0 ? 0 : row - 1) * p_.width + column]",
    "projections",
  ],
  [
    "up where gate should be",
    "project.cuh",
    "(paired ? 2 * size_t(t) + half : t)",
    "(paired ? 2 * size_t(t) + 1 - half : t)",
    "projections",
  ],
  [
    "norm scales of the first row for all",
    "project.cuh",
    "numerics::normalised(x, scales_[r], p_.norm[k])",
    "numerics::normalised(x, scales_[0], p_.norm[k])",
    "projections",
  ],
  [
    "outputs past the width stored",
    "project.cu",
    "if (column >= p.width) return;",
    "",
    "projections",
  ],
  [
    "no fence before the ticket",
    "block.cuh",
    "    __threadfence();\n    const uint32_t before",
    "    const uint32_t before",
    "routers",
  ],
  ["last block is the first", "block.cuh", "before == blocks - 1", "before == 0", "routers"],
  ["ticket not reset", "block.cuh", "      *ticket = 0;\n", "", "routers"],
  ["router's passes share a ticket", "project.cu", "tickets + pass", "tickets", "routers"],
  [
    "ties to the highest token",
    "draw.cu",
    "Key(numerics::ordered(score)) << 32 | (0xffffffffu - token)",
    "Key(numerics::ordered(score)) << 32 | token",
    "draws",
  ],
  [
    "non-finite logits unnoticed",
    "draw.cu",
    "if (!numerics::is_finite(logit)) key = kNotFinite;",
    "",
    "draws",
  ],
  [
    "candidates kept for the next draw",
    "draw.cu",
    "atomicExch(&batch.best[threadIdx.x], Key(0))",
    "batch.best[threadIdx.x]",
    "draws",
  ],
  [
    "top-k not drawn where every score is minus infinity",
    "draw.cu",
    "key != kNotFinite && batch",
    "key != kNotFinite && key != 0 && batch",
    "minus_infinity",
  ],
  [
    "top-k drawn past a logit that is not finite",
    "draw.cu",
    "key != kNotFinite && batch",
    "batch",
    "draws",
  ],
  [
    "every block of a head draws by top-k",
    "draw.cu",
    "if (!last_of(gridDim.x, batch.ticket)) return;",
    "last_of(gridDim.x, batch.ticket);",
    "draws",
  ],
  [
    "no fence before a head's ticket",
    "block.cuh",
    "    __threadfence();\n    const uint32_t before",
    "    const uint32_t before",
    "draws",
  ],
  ["head's ticket not reset", "block.cuh", "      *ticket = 0;\n", "", "draws"],
  [
    "top-k drawn from the first row's logits",
    "draw.cu",
    "p.output + size_t(row) * p.width, p.width",
    "p.output, p.width",
    "draws",
  ],
  [
    "the row's candidate not handed to the block",
    "draw.cu",
    "Key(0));\n  __syncthreads();\n  for (uint32_t row = 0; row < p.rows; row++) {",
    "Key(0));\n  for (uint32_t row = 0; row < p.rows; row++) {",
    "draws",
  ],
  ["top-k one too few", "draw.cu", "rest = draw.top_k;", "rest = draw.top_k - 1;", "draws"],
  [
    "digits chosen for too many keys",
    "draw.cu",
    "if (counts[digit] == rest) rest = 0;",
    "if (counts[digit] >= rest) rest = 0;",
    "draws",
  ],
  [
    "scratch memory without bound",
    "attend.cu",
    "Partials::bytes(job, pairs) <= kMostAttendScratch",
    "true",
    "scratch",
  ],
  [
    "no barrier before digits are counted",
    "draw.cu",
    "counts[i] = 0;\n    __syncthreads();",
    "counts[i] = 0;",
    "draws",
  ],
  [
    "product with 1 / T",
    "draw.cu",
    "return logit / draw.temperature +",
    "return logit * (1.0f / draw.temperature) +",
    "divided",
  ],
  [
    "weights past the row's position",
    "attend.cuh",
    "position_of(pair) - b * kBlockPositions + 1, lane",
    "position_of(pair) - b * kBlockPositions + 2, lane",
    "attention",
  ],
  [
    "blocks merged with the wrong factors",
    "attend.cu",
    "numerics::merged({0.0f, running.keep[pair], running.take[pair]}",
    "numerics::merged({0.0f, running.take[pair], running.keep[pair]}",
    "more_pairs",
  ],
  [
    "pairs that a block does not concern merged",
    "attend.cuh",
    "skipped > first_ ? skipped - first_ : 0",
    "0",
    "attention",
  ],
  [
    "scores read before the warp has read them",
    "attend.cuh",
    "__syncwarp();  // all lanes have read the scores",
    "",
    "attention",
  ],
  [
    "no barrier between scores and weights",
    "attend.cuh",
    "score(keys, filled, lowest);\n    __syncthreads();",
    "score(keys, filled, lowest);",
    "attention",
  ],
  [
    "query heads of the next group",
    "attend.cuh",
    "return kv_head_ * share_ + (first_ + pair) % share_;",
    "return (kv_head_ * share_ + (first_ + pair) % share_ + share_) % job_.shape.heads;",
    "attention",
  ],
  [
    "keys not turned",
    "attend.cuh",
    "numerics::rotate(key[j], key[half + j], angles[2 * j], angles[2 * j + 1])",
    "numerics::Pair{key[j], key[half + j]}",
    "attention",
  ],
  [
    "keys appended one slot late",
    "attend.cuh",
    "const uint32_t position = span.begin + i, slot = position % kBlockPositions;\n  const float* key",
    "const uint32_t position = span.begin + i, slot = (position + 1) % kBlockPositions;\n  const float* key",
    "attention",
  ],
  [
    "only a prompt's first row appended",
    "attend.cu",
    "dim3(job.most_rows, shape.kv_heads, job.span_count)",
    "dim3(1, shape.kv_heads, job.span_count)",
    "more_pairs",
  ],
  [
    "KV blocks merged in descending order",
    "attend.cu",
    "partials.output(begin + j, pair)[d]",
    "partials.output(begin + count - 1 - j, pair)[d]",
    "far",
  ],
  [
    "maxima and sums in another order than outputs",
    "attend.cu",
    "partials.law(begin + lane, pair)",
    "partials.law(begin + count - 1 - lane, pair)",
    "far",
  ],
  [
    "what is there and what comes swapped",
    "attend.cu",
    "numerics::merged(merge, output, parts[j])",
    "numerics::merged(merge, parts[j], output)",
    "attention",
  ],
  [
    "maximum of the first 32 KV blocks forgotten",
    "attend.cu",
    "lane == 0 ? numerics::larger(largest, own.x) : own.x",
    "own.x",
    "far",
  ],
  [
    "factors from the maximum after, not before",
    "attend.cu",
    "lane == 0 ? largest : before, own.x",
    "up_to, own.x",
    "attention",
  ],
  [
    "KV blocks past the row's own merged",
    "attend.cu",
    "work.blocks_of(pair), d, dim",
    "work.blocks(), d, dim",
    "attention",
  ],
  [
    "the last KV block left out",
    "attend.cu",
    "b < blocks; b += walkers",
    "b + 1 < blocks; b += walkers",
    "attention",
  ],
  [
    "KV blocks begun by none",
    "attend.cu",
    "b < blocks; b += walkers",
    "b < blocks; b += walkers + 1",
    "far",
  ],
  [
    "rows appended by the owner of the KV block before",
    "attend.cu",
    "work.append_in(b);",
    "work.append_in(b + 1);",
    "attention",
  ],
  [
    "rows appended by the first walker",
    "attend.cu",
    "work.append_in(b);",
    "if (b == 0) work.append_in(blocks - 1);",
    "attention",
  ],
  [
    "rows of the KV block after appended too",
    "attend.cuh",
    "const uint32_t last = span_.end < end ? span_.end : end;",
    "const uint32_t last = span_.end;",
    "attention",
  ],
  [
    "scratch memory shared by kv heads",
    "attend.cu",
    "size_t(blockIdx.z) * job.shape.kv_heads + blockIdx.y",
    "size_t(blockIdx.z) * job.shape.kv_heads",
    "attention",
  ],
  [
    "scratch memory of pairs and KV blocks confused",
    "attend.cu",
    "outputs_ + (size_t(b) * pairs_ + pair) * dim_",
    "outputs_ + (size_t(pair) * pairs_ + b) * dim_",
    "attention",
  ],
  [
    "scratch memory without maxima and sums",
    "attend.cu",
    "(job.shape.head_dim + 2) * sizeof(float)",
    "job.shape.head_dim * sizeof(float)",
    "far",
  ],
  [
    "KV blocks counted of the last span only",
    "cuda_backend.cc",
    "std::max(job.most_blocks, ceil_div(span.end, kBlockPositions))",
    "ceil_div(span.end, kBlockPositions)",
    "far",
  ],
  [
    "spans share their tickets",
    "attend.cu",
    "job.tickets + blockIdx.z * gridDim.y + blockIdx.y",
    "job.tickets + blockIdx.y",
    "attention",
  ],
  [
    "walkers that have nothing are waited for",
    "attend.cu",
    "last_of(walkers,",
    "last_of(gridDim.x,",
    "attention",
  ],
  [
    "the last walker but one merges",
    "attend.cu",
    "last_of(walkers,",
    "last_of(walkers - 1,",
    "attention",
  ],
  [
    "no barrier before a walker's ticket",
    "block.cuh",
    "NV_SHARED(uint32_t, last);\n  __syncthreads();",
    "NV_SHARED(uint32_t, last);",
    "attention",
  ],
  ["a walker's ticket not reset", "block.cuh", "      *ticket = 0;\n", "", "attention"],
  [
    "one position too few erased",
    "attend.cu",
    "dim3(span.end - span.begin, (last_layer",
    "dim3(span.end - span.begin - 1, (last_layer",
    "attention",
  ],
  [
    "token of the neighbouring tile",
    "table.cu",
    "token / kTileRows * table.tile_bytes()",
    "(token + 1) / kTileRows * table.tile_bytes()",
    "embedding",
  ],
  [
    "only a block's first values looked at",
    "table.cu",
    "i += size_t(gridDim.x) * kThreads) {\n    bad",
    "i += count) {\n    bad",
    "embedding",
  ],
  [
    "stale spans",
    "cuda_backend.cc",
    "table_round_ != round_ || bytes != table_bytes_",
    "table_round_ != round_",
    "attention",
  ],
  [
    "results read before they are there",
    "cuda_backend.cc",
    "  if (!routed) project(head);\n  wait();",
    "  if (!routed) project(head);",
    "routers",
  ],
  ["a flag from the last time", "cuda_backend.cc", "  *flag = 0;\n", "", "embedding"],
  [
    "the flag read too early",
    "cuda_backend.cc",
    '"looking for values that are not finite");\n  wait();',
    '"looking for values that are not finite");',
    "embedding",
  ],
  [
    "rows of a second batch draw from the first",
    "cuda_backend.cc",
    "product.input += size_t(begin) * product.cols;",
    "",
    "draws",
  ],
  [
    "a job that failed is not waited for",
    "cuda_backend.cc",
    "    cudaStreamSynchronize(stream_);\n    cudaGetLastError();\n    throw;",
    "    throw;",
    "a_job_after",
    "failure",
  ],
  [
    "half of an upload buffer kept",
    "cuda_backend.cc",
    "      Pinned more;\n      more.reserve(2 * bytes);\n      release(",
    "      Pinned more;\n      more.reserve(2 * bytes);\n      outgoing_.swap(more);\n      release(",
    "an_upload",
    "failure",
  ],
  [
    "refused memory called an error of CUDA",
    "cuda_backend.cc",
    'error == cudaErrorMemoryAllocation ? "ERR_NVIUM_OUT_OF_MEMORY" : "ERR_NVIUM_CUDA"',
    '"ERR_NVIUM_CUDA"',
    "an_upload",
    "failure",
  ],
];

/** Of the sources that include a header, those that its mutants' tests are about. */
const INCLUDED_BY = {
  "attend.cuh": ["attend.cu"],
  "block.cuh": ["attend.cu", "draw.cu", "project.cu"],
  "project.cuh": ["project.cu"],
};

const [build = "", filter = ""] = process.argv.slice(2);
const root = resolve(import.meta.dirname, "../..");
const commands = JSON.parse(readFileSync(join(build, "compile_commands.json"), "utf8"));
const work = join(tmpdir(), `nvium-mutants-${process.pid}`);
const objects = (folder) =>
  readdirSync(join(build, folder), { recursive: true })
    .filter((name) => name.endsWith(".o"))
    .map((name) => join(build, folder, name));
const core = objects("CMakeFiles/nvium_core.dir");
const kernels = objects("test/cuda/CMakeFiles/cuda_checked.dir");
const library = join(build, "test/simt/libsimt_checked.a");

/** What the compiler is told for a file of the checked backend, with another source and object. */
function compile(name, source, object) {
  const entry =
    commands.find(
      (c) => c.output?.includes("cuda_checked.dir") && basename(c.file).startsWith(name),
    ) ??
    commands.find(
      (c) => c.command.includes("cuda_checked.dir") && basename(c.file).startsWith(name),
    );
  const words = entry.command.split(" ").filter((w) => w !== "");
  const from = words.indexOf("-c"),
    to = words.indexOf("-o");
  words[from + 1] = source;
  words[to + 1] = object;
  const [program, ...rest] = words.filter(
    (w, i) => !/^-M[DTF]$/.test(w) && !/^-M[TF]$/.test(words[i - 1] ?? ""),
  );
  return spawnSync(
    program,
    [...rest, "-x", "c++"].filter((w) => w !== "-x" && w !== "c++"),
    { cwd: entry.directory, encoding: "utf8" },
  );
}

let missed = 0;
for (const [name, file, from, to, tests, tester = "operations"] of MUTANTS) {
  if (!name.includes(filter) && file !== filter) continue;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  cpSync(join(root, "cuda"), join(work, "cuda"), { recursive: true });
  symlinkSync(join(root, "native"), join(work, "native"));
  const path = join(work, "cuda", file);
  const text = readFileSync(path, "utf8");
  if (text.split(from).length !== 2) {
    console.log(`STALE   ${name}: its text is not there once`);
    missed++;
    continue;
  }
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
  const touched = INCLUDED_BY[file] ?? [file];
  const replaced = [];
  let failed = "";
  for (const source of touched) {
    const wrapper = join(work, `${source}.cc`);
    writeFileSync(wrapper, `#include "${join(work, "cuda", source)}"\n`);
    const object = join(work, `${source}.o`);
    const result = compile(source, wrapper, object);
    if (result.status !== 0)
      failed = result.stderr.split("\n").find((l) => l.includes("error")) ?? "";
    replaced.push([source, object]);
  }
  if (failed !== "") {
    console.log(`BROKEN  ${name}: ${failed}`);
    missed++;
    continue;
  }
  const rest = kernels.filter((o) => !replaced.some(([source]) => basename(o).startsWith(source)));
  const program = join(work, "test");
  execFileSync("g++", [
    ...objects(`test/cuda/CMakeFiles/cuda_${tester}_test.dir`),
    ...core,
    ...rest,
    ...replaced.map(([, o]) => o),
    library,
    "-ldl",
    "-lpthread",
    "-o",
    program,
  ]);
  const run = spawnSync(program, [tests], {
    encoding: "utf8",
    timeout: 300_000,
    maxBuffer: 1 << 28,
  });
  const output = run.stdout ?? "";
  if (run.status === 0) {
    console.log(`MISSED  ${name}`);
    missed++;
    continue;
  }
  const report =
    /(?:forward|adversarial|reverse|random|adversarial again): ((?!\d+ of)[^:\n]*?) at /.exec(
      output,
    )?.[1];
  const bytes = /\d+ of \d+ bytes differ/.test(output) ? "wrong bytes" : "";
  const error = /ERR_NVIUM_\w+/.exec(output)?.[0] ?? (run.signal ? `signal ${run.signal}` : "");
  console.log(`caught  ${name}: ${[report, bytes, error].filter(Boolean).join(", ")}`);
}
rmSync(work, { recursive: true, force: true });
process.exitCode = missed === 0 ? 0 : 1;
