// Makes the prebuilt addon of this machine's platform, prebuilds/linux-x64/nvium.glibc.node: the CPU and, where there is an nvcc,
// CUDA for every architecture in one file that also loads where there is no driver. Then looks at what it made and
// compares its bits with those of the addon that node-gyp built. `npm run release:prebuild`, which builds the package first.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { findNvcc } from "./nvcc.js";

const BUILD = "build/prebuild";
const FOLDER = "prebuilds/linux-x64";
const ADDON = `${FOLDER}/nvium.glibc.node`;
const REFERENCE = "build/Release/nvium.node";
const EXPORTS = ["napi_register_module_v1", "node_api_module_get_api_version_v1"];
// What every system with glibc has.
const LIBRARIES = /^(lib(c|m|dl|rt|pthread)\.so\.\d+|libgcc_s\.so\.1|ld-linux-x86-64\.so\.2)$/;
const CUDA_CODE = ["sm_80", "sm_90", "sm_100", "sm_120", "PTX of 120"];

if (process.platform !== "linux" || process.arch !== "x64") {
  throw new Error(
    `A prebuilt addon is made on linux-x64, and this is ${process.platform}-${process.arch}.`,
  );
}
const nvcc = findNvcc();
const problems = [];
const expect = (holds, otherwise) => holds || problems.push(otherwise);

try {
  make();
  inspect();
  load();
  compare();
} catch (error) {
  problems.push(error.message);
}
for (const problem of problems) console.error(`Wrong: ${problem}`);
if (problems.length > 0) {
  rmSync(ADDON, { force: true });
  process.exitCode = 1;
}

function make() {
  const started = performance.now();
  if (nvcc === undefined)
    console.log("There is no nvcc (set NVCC): this addon is for the CPU only.");
  const program = createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");
  const options = [
    ...["--out", BUILD, "--parallel", "2", "--log-level", "error", "--CDNVIUM_TESTS=OFF"],
    ...(nvcc === undefined
      ? ["--CDNVIUM_CUDA=OFF"]
      : ["--CDNVIUM_CUDA=ON", `--CDCMAKE_CUDA_COMPILER=${nvcc}`]),
  ];
  // "build" alone would keep the options of an earlier time.
  for (const command of ["configure", "build"])
    run(process.execPath, [program, command, ...options]);
  const seconds = Math.round((performance.now() - started) / 1000);
  mkdirSync(FOLDER, { recursive: true });
  copyFileSync(`${BUILD}/Release/nvium.node`, ADDON);
  run("strip", ["--strip-unneeded", ADDON]);
  console.log(`${ADDON}: ${megabytes(statSync(ADDON).size)}, built in ${seconds} s`);
}

/** What the file says of itself. */
function inspect() {
  const needed = [...run("readelf", ["-dW", ADDON]).stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(
    ([, name]) => name,
  );
  console.log(`libraries: ${needed.join(", ")}`);
  expect(
    needed.every((name) => LIBRARIES.test(name)),
    "it needs more than the libraries of libc",
  );

  const versions = [...run("objdump", ["-T", ADDON]).stdout.matchAll(/GLIBC_([\d.]+)/g)].map(
    ([, version]) => version,
  );
  const highest = versions.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).at(-1);
  console.log(`needs glibc ${highest}`);

  const exported = run("nm", ["-D", "--defined-only", ADDON])
    .stdout.trim()
    .split("\n")
    .map((line) => line.split(" ")[2]);
  expect(exported.sort().join() === EXPORTS.join(), `it exports ${exported.join(", ")}`);

  const code = cudaCode(readFileSync(ADDON));
  console.log(`CUDA: ${code.join(", ") || "none"}`);
  expect(
    code.join() === (nvcc === undefined ? "" : CUDA_CODE.join()),
    `its CUDA code should be ${CUDA_CODE.join(", ")}, or none without nvcc`,
  );
}

/** For what nvcc compiled a file: an entry of a fat binary has its kind, sizes and architecture at its beginning. */
function cudaCode(file) {
  const MAGIC = Buffer.from([0x50, 0xed, 0x55, 0xba]);
  const found = new Map();
  for (let at = file.indexOf(MAGIC); at >= 0; at = file.indexOf(MAGIC, at + 4)) {
    const begin = at + file.readUInt16LE(at + 6);
    const end = begin + Number(file.readBigUInt64LE(at + 8));
    for (let entry = begin; entry < end; ) {
      const architecture = file.readUInt32LE(entry + 28);
      const name = file.readUInt16LE(entry) === 1 ? `PTX of ${architecture}` : `sm_${architecture}`;
      found.set(name, architecture);
      entry += file.readUInt32LE(entry + 4) + Number(file.readBigUInt64LE(entry + 8));
    }
  }
  const order = ([a, x], [b, y]) =>
    Number(a.startsWith("PTX")) - Number(b.startsWith("PTX")) || x - y;
  return [...found].sort(order).map(([name]) => name);
}

/** In a plain Node, with or without a driver: nothing is printed. */
function load() {
  const { cpu, cuda } = JSON.parse(
    program(ADDON, `console.log(JSON.stringify(nvium.getDevices()))`),
  );
  console.log(`loads: ${cpu.instructionSets.join(", ")}. ${cuda.reason}`);
  expect(cpu.available, "it does not load");
  expect(
    cuda.compiled === (nvcc !== undefined) && cuda.reason !== "",
    "it does not say what it has of CUDA",
  );
}

/** The demo's tokens, exits and laws with every instruction set: those of the addon that node-gyp built. */
function compare() {
  const code = `
    import { createHash } from "node:crypto";
    for (const instructionSet of nvium.getDevices().cpu.instructionSets) {
      const model = await nvium.loadModel("models/demo", { device: "cpu", instructionSet });
      const { tokens, exits } = await model.generate("Once upon a time", { seed: 7, maxNewTokens: 60 }).result();
      const laws = await model.evaluate(tokens, { exitLogits: true, mixture: true });
      const hash = createHash("sha256").update(JSON.stringify([tokens, exits]));
      for (const values of Object.values(laws)) hash.update(new Uint8Array(values.buffer));
      console.log(hash.digest("hex"));
      await model.dispose();
    }`;
  const digests = program(REFERENCE, code);
  const equal = program(ADDON, code) === digests;
  console.log(`bits: ${equal ? "" : "not "}those of ${REFERENCE}`);
  expect(equal, `its bits are not those of ${REFERENCE}`);
}

/** What a program over the built package prints with an addon. */
function program(addon, code) {
  const { pathname } = new URL(`../${addon}`, import.meta.url);
  const { stdout, stderr } = run(
    process.execPath,
    ["--input-type=module", "--eval", `import * as nvium from "nvium";${code}`],
    { NVIUM_BINDING: decodeURIComponent(pathname) },
  );
  expect(stderr === "", `it prints: ${stderr}`);
  return stdout;
}

function run(command, parameters, environment = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, parameters, {
    encoding: "utf8",
    env: { ...process.env, ...environment },
    maxBuffer: 1 << 28,
  });
  if (error !== undefined) throw error;
  if (status !== 0) {
    throw new Error(`${command} ${parameters.join(" ")} (${status}):\n${stdout}${stderr}`);
  }
  return { stdout, stderr };
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
