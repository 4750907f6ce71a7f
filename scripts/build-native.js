// Builds the addon with node-gyp, saying nothing unless it takes a while or fails.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";

const program = createRequire(import.meta.url).resolve("node-gyp/bin/node-gyp.js");
const command = existsSync("build/config.gypi") ? "build" : "rebuild";
const child = spawn(process.execPath, [program, command, "--silent", "--jobs", "max"], {
  stdio: ["ignore", "pipe", "pipe"],
});
const output = [];
for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => output.push(data));
const patience = setTimeout(() => {
  process.stderr.write("Compiling the native addon, about a minute the first time …\n");
}, 3000);
child.on("close", (code) => {
  clearTimeout(patience);
  process.exitCode = code ?? 1;
  if (code === 0) return;
  process.stderr.write(Buffer.concat(output));
  process.stderr.write("\nThe addon could not be built. `npx node-gyp rebuild` starts afresh.\n");
});
