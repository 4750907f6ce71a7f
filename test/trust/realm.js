// Run by environment.test.ts with --experimental-vm-modules: the package evaluated in another realm than Node's own, as test
// runners do, where `Error`, `Promise` and `process` are others. Prints what is not as it should be.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import vm from "node:vm";

const [, , entry, directory] = process.argv;
const DIST = new URL(".", pathToFileURL(entry)).href;
const wrong = [];
const expect = (what, holds) => holds || wrong.push(what);

// A process of the realm's own, on which nobody emits anything.
const sandbox = Object.create(process, {
  once: { value: () => wrong.push("a listener on a process that is not the real one") },
  on: { value: () => wrong.push("a listener on a process that is not the real one") },
});
const context = vm.createContext({
  ...{ process: sandbox, AbortSignal, AbortController, DOMException, TextDecoder, TextEncoder },
  ...{ URL, Buffer, crypto, setInterval, clearInterval, setTimeout, performance, console },
});
const modules = new Map();

async function foreign(url) {
  const namespace = await import(url);
  const names = Object.keys(namespace);
  return new vm.SyntheticModule(
    names,
    function () {
      for (const name of names) this.setExport(name, namespace[name]);
    },
    { context, identifier: url },
  );
}

function find(specifier, from) {
  if (specifier.startsWith("node:")) return specifier;
  if (specifier.startsWith(".")) return new URL(specifier, from).href;
  return pathToFileURL(createRequire(from).resolve(specifier)).href;
}

async function load(url) {
  if (!modules.has(url)) {
    modules.set(
      url,
      url.startsWith(DIST)
        ? new vm.SourceTextModule(readFileSync(fileURLToPath(url), "utf8"), {
            context,
            identifier: url,
            initializeImportMeta: (meta) => {
              meta.url = url;
            },
            importModuleDynamically: async (specifier, { identifier }) =>
              evaluated(await load(find(specifier, identifier))),
          })
        : await foreign(url),
    );
  }
  return modules.get(url);
}

async function evaluated(module) {
  if (module.status === "unlinked") {
    await module.link((specifier, { identifier }) => load(find(specifier, identifier)));
  }
  await module.evaluate();
  return module;
}

const { namespace } = await evaluated(await load(pathToFileURL(entry).href));
const { loadModel, NviumError } = namespace;
expect("another realm", Object.getPrototypeOf(NviumError) !== Error);
const listeners = process.listenerCount("exit");

const failure = await loadModel(directory, { instructionSet: "mmx" }).catch((error) => error);
expect(`an NviumError for what the addon throws: ${failure}`, failure instanceof NviumError);
expect("the real process is listened to", process.listenerCount("exit") > listeners);

for (let milliseconds = 0; milliseconds < 20; milliseconds++) {
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error("enough")), milliseconds);
  const options = { signal: stop.signal, threads: 1 };
  const error = await loadModel(directory, options).then(
    (model) => model.dispose(),
    (thrown) => thrown,
  );
  expect(
    `the signal's reason after ${milliseconds} ms: ${error}`,
    error === undefined || error === stop.signal.reason,
  );
}

const model = await loadModel(directory, { threads: 1 });
const session = model.createSession({ seed: 1 });
session.append([3, 4, 5]);
const { token } = await session.step();
expect("a token", Number.isInteger(token));
const large = model.createSession({ extendContext: true, maxTokens: 50_000 });
large.append(new Array(40_000).fill(3));
const stop = new AbortController();
setTimeout(() => stop.abort("enough"), 50);
const aborted = await large.flush({ signal: stop.signal }).catch((error) => error);
expect(`the signal's reason of a flush: ${aborted}`, aborted === "enough");
await model.dispose();
process.stdout.write(wrong.join("\n"));
