// Packs the package as it would be published and uses it as a stranger would: installed into an empty folder without any
// script, where the prebuilt addon must do; then without that, built from source by its own install script. Fails above a
// size. `npm run release:package`, after `release:prebuild`; dependencies come from npm. Leaves the tarball in build/package.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

// Of 11.6 MB now, 7 are the demo's weights and 4 CUDA for four architectures; an addon of the CPU is a third of one. So there
// is room for other platforms, and anything large that should not be there shows.
const MOST_BYTES = 20e6;
const TARGET = "build/package";
const PREBUILT = "prebuilds/linux-x64/nvium.glibc.node";
const NEEDED = [
  ...["package.json", "README.md", "LICENSE", "binding.gyp", "CMakeLists.txt", PREBUILT],
  ...[
    "dist/index.js",
    "dist/index.d.ts",
    "types/index.d.cts",
    "dist/cli/main.js",
    "dist/text/thread.js",
    "native/sources.gypi",
  ],
  ...[
    "native/binding/exports.map",
    "models/demo/model.safetensors",
    "models/demo/.hydra/config.yaml",
  ],
  ...Object.values(JSON.parse(readFileSync("native/sources.gypi", "utf8")).variables).flat(),
];
const FOLDERS =
  /^(dist|types|docs|native|cuda|models\/demo|prebuilds\/linux-x64)\/|^(bench|test\/\w+)\/README\.md$|^[^/]+$/;
const STORY = [
  "generate",
  "--no-stdin",
  "--no-summary",
  "--device",
  "cpu",
  "--seed",
  "7",
  "-n",
  "40",
];

const folder = mkdtempSync(join(tmpdir(), "nvium-package-"));
const installed = join(folder, "node_modules/nvium");
try {
  const tarball = pack();
  const expected = run(process.execPath, ["dist/cli/main.js", ...STORY]);

  writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
  npm("install", "--ignore-scripts", "--no-audit", "--no-fund", tarball);
  use(expected, PREBUILT);

  rmSync(join(installed, "prebuilds"), { recursive: true });
  const started = performance.now();
  npm("rebuild", "nvium");
  console.log(`built from source in ${Math.round((performance.now() - started) / 1000)} s`);
  use(expected, "build/Release/nvium.node");
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The tarball's path. */
function pack() {
  mkdirSync(TARGET, { recursive: true });
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", TARGET]));
  const { filename, size, unpackedSize, files } = packed;
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  console.log(`${filename}: ${megabytes(size)} packed, ${megabytes(unpackedSize)} unpacked`);
  const names = files.map(({ path }) => path);
  const missing = NEEDED.filter((name) => !names.includes(name));
  const strange = names.filter((name) => !FOLDERS.test(name));
  if (missing.length > 0) throw new Error(`The package lacks ${missing.join(", ")}.`);
  if (strange.length > 0) throw new Error(`The package should not have ${strange.join(", ")}.`);
  if (size > MOST_BYTES) throw new Error(`The package has more than ${megabytes(MOST_BYTES)}.`);
  return resolve(TARGET, filename);
}

/** Runs the README's program and the command with the addon of this name, the only one there is. */
function use(story, addon) {
  if (!existsSync(join(installed, addon))) throw new Error(`There is no ${addon}.`);
  const [, program = ""] = /^```js\n(.*?)^```$/ms.exec(readFileSync("README.md", "utf8")) ?? [];
  const text = run(process.execPath, ["--input-type=module", "--eval", program], folder);
  if (text.length < 50) throw new Error(`The README's program says "${text}".`);
  if (run("npx", ["--no", "nvium", ...STORY], folder) !== story) throw new Error("Another story.");
  console.log(`works with ${addon}`);
}

function npm(...parameters) {
  run("npm", parameters, folder);
}

function run(command, parameters, cwd = ".") {
  const { NVIUM_BINDING: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(command, parameters, { encoding: "utf8", cwd, env });
  if (status === 0) return stdout;
  throw new Error(`${command} ${parameters.join(" ")} (${status}):\n${stdout}${stderr}`);
}
