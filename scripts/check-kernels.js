// What can be known of the kernels without a GPU: they compile for every architecture without a spill, and their PTX
// holds only the arithmetic that docs/numerics.md allows. Writes registers and shared memory to docs/kernels.md, or with
// --check compares, if this nvcc is of the version that wrote them. Says so and succeeds where there is no nvcc.
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { findNvcc } from "./nvcc.js";

const FILES = ["project", "draw", "panel", "attend", "table"];
const ARCHITECTURES = [80, 90, 100, 120];
/** What a multiprocessor holds at once: blocks and bytes as in the toolkit's cuda_occupancy.h, warps as in the Programming Guide. */
const LIMITS = {
  80: { warps: 64, blocks: 32, shared: 164 * 1024 },
  90: { warps: 64, blocks: 32, shared: 228 * 1024 },
  100: { warps: 64, blocks: 32, shared: 228 * 1024 },
  120: { warps: 48, blocks: 24, shared: 100 * 1024 },
};
const TABLE = "docs/kernels.md";
const OPTIONS = [
  "-std=c++20",
  "-ftz=true",
  "-fmad=false",
  "-prec-div=true",
  "-prec-sqrt=true",
  "--expt-relaxed-constexpr",
  "-Werror",
  "all-warnings",
];
const nvcc = findNvcc();
if (nvcc === undefined) {
  console.log("Kernels were not checked: there is no nvcc (set NVCC).");
  process.exit(0);
}
const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "nvium-kernels-"));
const problems = [];
const bounds = new Map();

/** The enumerations of native/backend.h, in order. */
const TYPES = {
  MatrixType: ["bf16", "f16", "f32", "bytes", "int8", "int4"],
  CacheType: ["bf16", "f32", "int8"],
};

/** Reads a mangled kernel name: "project_kernel bf16, 16 rows". */
function readable(mangled) {
  const [text = mangled] = spawnSync("c++filt", [mangled], { encoding: "utf8" }).stdout.split("\n");
  const name = /(\w+_kernel)/.exec(text)?.[1] ?? text;
  const parameters = /_kernel<([^>]*)>/.exec(text)?.[1] ?? "";
  const [, kind = "", index = ""] = /(\w+Type)\)(\d)/.exec(parameters) ?? [];
  const type = TYPES[kind]?.[Number(index)];
  const rows = /,\s*\(?(?:int\))?(\d+)/.exec(parameters)?.[1];
  return [name, type, rows && `${rows} ${rows === "1" ? "row" : "rows"}`].filter(Boolean).join(" ");
}

/** Kernel -> { registers, shared } on one architecture. */
async function compile(file, architecture) {
  const output = join(folder, `${file}.${architecture}.cubin`);
  const { stderr } = await run(
    nvcc,
    [
      ...OPTIONS,
      `-arch=sm_${architecture}`,
      "-cubin",
      "-Xptxas=-v,-warn-spills,-Werror",
      "-o",
      output,
      `cuda/${file}.cu`,
    ],
    { maxBuffer: 1 << 26 },
  );
  const kernels = new Map();
  let kernel = "";
  for (const line of stderr.split("\n")) {
    kernel = /Compiling entry function '(\w+)'/.exec(line)?.[1] ?? kernel;
    const [, stored, loaded] = /(\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line) ?? [];
    if (Number(stored) + Number(loaded) > 0)
      problems.push(`${readable(kernel)} spills on sm_${architecture}`);
    const registers = /Used (\d+) registers/.exec(line)?.[1];
    if (registers === undefined) continue;
    const shared = /(\d+) bytes smem/.exec(line)?.[1] ?? "0";
    kernels.set(readable(kernel), { registers: Number(registers), shared: Number(shared) });
  }
  return kernels;
}

/** Kernel -> { threads, dynamic } of a launch for the 1.5B shape, for those that have dynamic shared memory. */
async function launches() {
  const program = join(folder, "shapes");
  await run(nvcc, [...OPTIONS, "-arch=sm_90", "-o", program, "scripts/kernel-shapes.cu"]);
  const { stdout } = await run(program);
  const lines = stdout.trim().split("\n");
  return new Map(
    lines.map((line) => {
      const [kernel, threads, dynamic] = line.split("|");
      return [kernel, { threads: Number(threads), dynamic: Number(dynamic) }];
    }),
  );
}

/** Looks at a file's PTX. Notes the threads that each kernel's launch bound allows a block. */
async function inspect(file) {
  const output = join(folder, `${file}.ptx`);
  await run(nvcc, [...OPTIONS, "-arch=sm_90", "-ptx", "-o", output, `cuda/${file}.cu`], {
    maxBuffer: 1 << 26,
  });
  const ptx = readFileSync(output, "utf8");
  for (const [, kernel, threads] of ptx.matchAll(/\.entry (\w+)\([^{]*?\.maxntid (\d+)/g)) {
    bounds.set(readable(kernel), Number(threads));
  }
  const lines = ptx.split("\n");
  const refuse = (what, pattern) => {
    const bad = lines.filter((line) => pattern.test(line));
    if (bad.length > 0) problems.push(`${file}: ${what}: ${bad[0]?.trim()} (${bad.length} times)`);
  };
  refuse("approximate", /\.approx|\bex2\.|\blg2\.|\brsqrt|\.full/);
  refuse("contracted", /\bmad\.(rn\.|ftz\.)*f32/);
  refuse("a float atomic", /\b(atom|red)\.\S*\.f(16|32|64)/);
  refuse("local memory", /\b[ls][dt]\.local/);
  refuse("a read-only load that is not of 16 bytes", /ld\.global\.nc(?!\.v4\.(u32|b32|f32))/);
  // What lies before the wait for the launch ahead may be read only if nothing ever writes it: weights.
  let early = 0;
  for (const [, kernel, body] of ptx.matchAll(/\.entry (\w+)\(([\s\S]*?)\n\}/g)) {
    const wait = body.indexOf("griddepcontrol.wait");
    const name = readable(kernel);
    if (wait < 0) {
      if (/^(project|head|panel|scale|attend|append|walk|embed|normalise)_kernel/.test(name))
        problems.push(`${name} does not wait for the launch ahead`);
      continue;
    }
    const before = body.slice(0, wait).split("\n");
    const touches = before.find((line) => /\b(ld|st|atom|red)\.\S*global(?!\.nc)/.test(line));
    if (touches !== undefined)
      problems.push(
        `${name} touches memory before it waits for the launch ahead: ${touches.trim()}`,
      );
    if (before.some((line) => /cp\.async\.cg|ld\.global\.nc/.test(line))) early++;
  }
  const arithmetic = /^\s*(?:@%?!?\S+\s+)?(add|sub|mul|fma|div|sqrt|min|max|setp)\.[a-z.]*f32\s/;
  const found = lines.filter((line) => arithmetic.test(line));
  // Those that can be contracted say "rn" in so many words: without it an add or a mul may be fused by the assembler.
  const rounds = /^\s*(?:@%?!?\S+\s+)?(add|sub|mul|fma|div|sqrt)\./;
  const wrong = found.filter(
    (line) =>
      !/\.ftz\./.test(line) ||
      /\.(rz|rm|rp)\./.test(line) ||
      (rounds.test(line) && !/\.rn\./.test(line)),
  );
  if (wrong.length > 0)
    problems.push(`${file}: not flushed or not to nearest: ${wrong[0]?.trim()}`);
  return {
    arithmetic: found.length,
    loads: lines.filter((line) => /ld\.global\.nc\.v4|cp\.async\.cg/.test(line)).length,
    early,
  };
}

const up = (n, to) => Math.ceil(n / to) * to;

/**
 * Warps that a multiprocessor holds at once in blocks of `threads`. Each of its four parts has 16384 registers, given to
 * a warp 256 at a time; a block takes 1 KB of shared memory besides its own.
 */
function warps(registers, shared, threads, limits) {
  const perBlock = threads / 32;
  const byRegisters = 4 * Math.floor(16384 / up(registers * 32, 256));
  const blocks = Math.min(
    Math.floor(Math.min(byRegisters, limits.warps) / perBlock),
    Math.floor(limits.shared / up(shared + 1024, 128)),
    limits.blocks,
  );
  return (blocks * threads) / 32;
}

try {
  const rows = new Map();
  let arithmetic = 0;
  const inspectAll = async () => {
    for (const file of FILES) {
      const seen = await inspect(file);
      arithmetic += seen.arithmetic;
      if ((file === "project" || file === "draw") && (seen.loads < 30 || seen.early < 15)) {
        problems.push(
          `${file}: ${seen.loads} copies of 16 bytes of weights; ${seen.early} kernels begin with them before they wait`,
        );
      }
    }
  };
  const work = FILES.flatMap((file) =>
    ARCHITECTURES.map((architecture) => ({ file, architecture })),
  );
  const compileAll = async () => {
    for (let next = work.shift(); next !== undefined; next = work.shift()) {
      const { file, architecture } = next;
      for (const [kernel, use] of await compile(file, architecture)) {
        rows.set(kernel, { ...rows.get(kernel), [architecture]: use });
      }
    }
  };
  // Two at a time; the results do not depend on the order.
  await Promise.all([inspectAll().then(compileAll), compileAll()]);
  if (arithmetic < 1000)
    problems.push(`only ${arithmetic} f32 instructions: the pattern does not fit this PTX`);
  const [, version = "?"] =
    /release ([\d.]+)/.exec(spawnSync(nvcc, ["--version"], { encoding: "utf8" }).stdout) ?? [];
  const launched = await launches();
  const table = [...rows]
    .sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }))
    .map(([kernel, on]) => {
      const bound = bounds.get(kernel);
      if (bound === undefined) problems.push(`${kernel} has no launch bound`);
      const { threads, dynamic } = launched.get(kernel) ?? { threads: bound, dynamic: 0 };
      const shared = dynamic + Math.max(...ARCHITECTURES.map((a) => on[a].shared));
      const uses = ARCHITECTURES.map(
        (a) => `${on[a].registers}, ${warps(on[a].registers, shared, threads, LIMITS[a])}`,
      );
      return `| ${kernel} | ${threads} | ${shared} | ${uses.join(" | ")} |`;
    });
  const text = `# Kernels

Written by \`npm run check:kernels\`, which compiles every kernel for every architecture and fails on a spill. It reads the PTX of
sm_90, the source being the same for all, and fails on an f32 instruction that is not flushed and rounded to nearest, on
anything approximate or contracted, on a float atomic, and on a kernel that touches anything but weights before it waits for the
launch ahead of it.
Compiled with nvcc ${version}; no kernel spills. Nothing here was measured on a GPU.

Threads of a block and its shared memory in bytes, as launched for the 1.5B shape (d 1536, ffn 4096, 12 heads of 128): the
down projection, the language model's head, attention of 16 decoded rows and of a prompt. For each architecture the registers of a thread, then the warps that a multiprocessor holds at once as its registers,
shared memory, threads and blocks allow. Shared memory is what limits products of many rows.

| kernel | threads | shared | ${ARCHITECTURES.map((a) => `sm_${a}`).join(" | ")} |
| --- | ---: | ---: | ${ARCHITECTURES.map(() => "---:").join(" | ")} |
${table.join("\n")}
`;
  if (!process.argv.includes("--check")) {
    writeFileSync(TABLE, text);
  } else if (!existsSync(TABLE)) {
    problems.push(`${TABLE} is missing: npm run check:kernels`);
  } else if (!readFileSync(TABLE, "utf8").includes(`nvcc ${version};`)) {
    console.log(`${TABLE} was written by another version of nvcc: not compared.`);
  } else if (readFileSync(TABLE, "utf8") !== text) {
    problems.push(`${TABLE} is not what this nvcc makes: npm run check:kernels`);
  }
  console.log(
    `${rows.size} kernels for ${ARCHITECTURES.length} architectures, ${arithmetic} f32 instructions looked at.`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
