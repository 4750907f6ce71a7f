// Breaks the kernels and the host code around them, one line at a time, and asks the tests of operations to notice.
//
//   node test/cuda/mutants.js <build folder> [part of a name, or a file]
//
// The build folder holds the finished cuda_operations_test, cuda_failure_test and cuda_model_test, configured with -DCMAKE_EXPORT_COMPILE_COMMANDS=ON. Sources are
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
    "operands read before they are staged",
    "project.cuh",
    "operands_);\n    __syncthreads();",
    "operands_);",
    "projections",
  ],
  [
    "scales read before they are found",
    "project.cuh",
    "scales_[r] = scale;\n      }\n      __syncthreads();",
    "scales_[r] = scale;\n      }",
    "projections",
  ],
  [
    "the launch ahead not waited for",
    "project.cuh",
    "    nv::grid_dependency_wait();\n",
    "",
    "routers",
  ],
  [
    "a ring's place given away before it was read",
    "ring.cuh",
    "    __syncwarp();\n    ask();",
    "    ask();",
    "projections",
  ],
  [
    "a stage read before other lanes' copies have landed",
    "ring.cuh",
    "    __syncwarp();\n    return memory_",
    "    return memory_",
    "projections",
  ],
  [
    "a stage read before it has landed",
    "ring.cuh",
    "cp_async_wait<kRingStages - 1>",
    "cp_async_wait<kRingStages>",
    "projections",
  ],
  [
    "a ring one place too small",
    "ring.cuh",
    "if (++back_ == kRingStages) back_ = 0;",
    "if (++back_ == kRingStages - 1) back_ = 0;",
    "projections",
  ],
  [
    "stages asked for are not counted",
    "ring.cuh",
    "    nv::cp_async_commit();  // an empty one too: stages are counted\n",
    "    if (tile_pair_ < last_) nv::cp_async_commit();\n",
    "chunks",
  ],
  [
    "the last stage of a chunk left out",
    "ring.cuh",
    "return ceil_div(pairs_, kStagePairs);",
    "return pairs_ / kStagePairs;",
    "projections",
  ],
  [
    "weights past the chunk's end",
    "ring.cuh",
    "at / P::kPairBytes < pairs_;",
    "at / P::kPairBytes < kChunkPairs;",
    "one_column",
  ],
  [
    "weights of a tile past the last",
    "ring.cuh",
    "const bool valid = 2 * tile_pair_ + tile < tiles_ &&",
    "const bool valid =",
    "projections",
  ],
  [
    "the tile pair after is another warp's",
    "ring.cuh",
    "tile_pair_ += warp_count();",
    "tile_pair_ += 1;",
    "chunks",
  ],
  [
    "chunks added in descending order",
    "project.cuh",
    "sums_of(c + i, r)",
    "sums_of(gridDim.x - 1 - c - i, r)",
    "projections",
  ],
  [
    "no fence before a warp's ticket",
    "project.cuh",
    "    __threadfence();\n    last = atomicAdd",
    "    last = atomicAdd",
    "projections",
  ],
  [
    "no barrier of the warp before its ticket",
    "project.cuh",
    "  __syncwarp();  // behind the fence is what all lanes wrote\n",
    "",
    "projections",
  ],
  [
    "the last warp but one finishes",
    "project.cuh",
    "== warps - 1;",
    "== warps - 2;",
    "projections",
  ],
  ["the first warp finishes", "project.cuh", "== warps - 1;", "== 0;", "projections"],
  ["a warp's ticket not reset", "project.cuh", "      *ticket = 0;\n", "", "routers"],
  ["tile pairs share a ticket", "project.cuh", "s_.tickets + t)", "s_.tickets)", "projections"],
  [
    "sums of rows in each other's place",
    "project.cuh",
    "(size_t(chunk) * p_.rows + row)",
    "(size_t(chunk) * p_.rows + row / 2)",
    "projections",
  ],
  [
    "even element of a pair first",
    "project.cuh",
    "            sums[r][n] = numerics::fma(high[n], odd[r], sums[r][n]);\n            sums[r][n] = numerics::fma(low[n], even[r], sums[r][n]);",
    "            sums[r][n] = numerics::fma(low[n], even[r], sums[r][n]);\n            sums[r][n] = numerics::fma(high[n], odd[r], sums[r][n]);",
    "projections",
  ],
  [
    "operands of the chunk before",
    "project.cuh",
    "p_, part_.chunk, scales_,",
    "p_, part_.chunk == 0 ? 0 : part_.chunk - 1, scales_,",
    "projections",
  ],
  [
    "up where gate should be",
    "project.cuh",
    "finish(r, tile_pair * kTileRows + column, low, high);",
    "finish(r, tile_pair * kTileRows + column, high, low);",
    "projections",
  ],
  [
    "every range hands out the normalised rows of its own",
    "project.cuh",
    "part_.first == 0 && p_.normed != nullptr",
    "part_.first != 0 && p_.normed != nullptr",
    "projections",
  ],
  [
    "scratch memory for one chunk",
    "project.cu",
    "chunk_count(p.cols) * p.tile_count()",
    "p.tile_count()",
    "projections",
  ],
  [
    "columns past the end staged",
    "operand.cuh",
    "if (row >= p.rows || k >= p.cols) return 0.0f;",
    "if (row >= p.rows) return 0.0f;",
    "projections",
  ],
  [
    "rows past the end staged",
    "operand.cuh",
    "if (row >= p.rows || k >= p.cols) return 0.0f;",
    "if (k >= p.cols) return 0.0f;",
    "projections",
  ],
  [
    "norm scales of the first row for all",
    "operand.cuh",
    "scales[row], p.norm[k]",
    "scales[0], p.norm[k]",
    "projections",
  ],
  [
    "operands not rounded",
    "operand.cuh",
    "numerics::bf16_to_float(numerics::bf16_from_float(value))",
    "value",
    "projections",
  ],
  [
    "the input of a norm read past its end",
    "operand.cuh",
    "ahead[i] = begin + i * kWarp < p.cols ? x[i * kWarp] : 0.0f;",
    "ahead[i] = x[i * kWarp];",
    "projections",
  ],
  [
    "bias after the activation",
    "epilogue.cuh",
    "if (p.bias != nullptr) value += p.bias[column];\n",
    "",
    "projections",
  ],
  [
    "residual of the row above",
    "epilogue.cuh",
    "value += p.residual[size_t(row) * p.width + column]",
    "value += p.residual[size_t(row == 0 ? 0 : row - 1) * p.width + column]",
    "projections",
  ],
  [
    "outputs past the width stored",
    "epilogue.cuh",
    "if (column + i < p.width) to[i]",
    "to[i]",
    "projections",
  ],
  ["rows past the last stored", "epilogue.cuh", "if (row >= p.rows) return;", "", "projections"],
  [
    "a panel's scales not waited for",
    "panel.cu",
    "  nv::grid_dependency_wait();\n  load_scales();",
    "  load_scales();",
    "more_rows",
  ],
  [
    "a panel's chunks end one step late",
    "panel.cu",
    "(numerics::kDotChunk / kStep) == 0) {",
    "(numerics::kDotChunk / kStep) == 1) {",
    "more_rows",
  ],
  [
    "a panel's even element first",
    "panel.cu",
    "const uint32_t k = i ^ 1;",
    "const uint32_t k = i;",
    "more_rows",
  ],
  [
    "a panel's buffer written while it is read",
    "panel.cu",
    "    if (more) keep(1 - buffer);\n    __syncthreads();",
    "    if (more) keep(1 - buffer);",
    "more_rows",
  ],
  [
    "a panel's weights past their tile",
    "panel.cu",
    "if (tile < tiles && within < tile_bytes) {",
    "if (tile < tiles) {",
    "more_rows",
  ],
  [
    "a panel's rows past the last",
    "panel.cu",
    "const bool there = inside && i < own_rows;",
    "const bool there = inside;",
    "more_rows",
  ],
  [
    "a panel's norm with another row's scale",
    "panel.cu",
    "scales[own_row + i * kSide]",
    "scales[first_row]",
    "more_rows",
  ],
  [
    "attention does not wait for the product ahead",
    "attend.cu",
    "  NV_DYN_SMEM(shared);\n  nv::grid_dependency_trigger();\n  nv::grid_dependency_wait();\n  Attend<kType> work(job, capacity, 0, shared);",
    "  NV_DYN_SMEM(shared);\n  nv::grid_dependency_trigger();\n  Attend<kType> work(job, capacity, 0, shared);",
    "a_model",
    "model",
  ],
  [
    "a row's best is a warp's, not the block's",
    "draw.cu",
    "atomicMax(&best[row], key);",
    "best[row] = key;",
    "draws",
  ],
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
    "if (!numerics::is_finite(logit)) one = kNotFinite;",
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
    "if (!last_of(gridDim.x * gridDim.y, batch.ticket)) return;",
    "last_of(gridDim.x * gridDim.y, batch.ticket);",
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
    "           .width = 2});\n  wait();",
    "           .width = 2});",
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
  "block.cuh": ["attend.cu", "draw.cu"],
  "epilogue.cuh": ["panel.cu", "project.cu"],
  "operand.cuh": ["panel.cu", "project.cu"],
  "project.cuh": ["project.cu"],
  "ring.cuh": ["project.cu"],
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
