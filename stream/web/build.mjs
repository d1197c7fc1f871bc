// Makes dist/, which is served, and test/built.js, which the tests import, from src/.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ENTRIES = ["page.ts", "engine.ts", "worklet.ts"];

const path = (name) => new URL(name, import.meta.url).pathname;
const runtime = path("node_modules/onnxruntime-web/");
const version = JSON.parse(readFileSync(`${runtime}package.json`)).version;
const options = {
  bundle: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  define: { ORT_VERSION: JSON.stringify(version) },
};

rmSync(path("dist"), { recursive: true, force: true });
mkdirSync(path("dist"));
await build({ ...options, entryPoints: ENTRIES.map((name) => path(`src/${name}`)), outdir: path("dist") });
await build({ ...options, entryPoints: [path("test/modules.ts")], outfile: path("test/built.js") });

const sources = readdirSync(path("src")).sort();
for (const name of sources.filter((name) => !name.endsWith(".ts"))) copyFileSync(path(`src/${name}`), path(`dist/${name}`));

// ONNX Runtime's version is in its files' names, so that browsers may keep them for good.
copyFileSync(`${runtime}dist/ort.wasm.bundle.min.mjs`, path(`dist/ort-${version}.js`));
const wasm = gzipSync(readFileSync(`${runtime}dist/ort-wasm-simd-threaded.wasm`), { level: 9 });
writeFileSync(path(`dist/ort-${version}.wasm.gz`), wasm);

// Of what it was made: a test compares.
const hash = createHash("sha256");
for (const name of ["build.mjs", "package-lock.json", ...sources.map((name) => `src/${name}`)]) hash.update(readFileSync(path(name)));
writeFileSync(path("dist/sources.sha256"), `${hash.digest("hex")}\n`);
