// Makes dist/, which is served, and test/built.js, which the tests import, from src/.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ENTRIES = ["page", "engine", "worklet", "speak", "speaker", "microphone"];

const path = (name) => new URL(name, import.meta.url).pathname;
const versionOf = (name) => JSON.parse(readFileSync(path(`node_modules/${name}/package.json`))).version;
const [ort, avif] = [versionOf("onnxruntime-web"), versionOf("@jsquash/avif")];
const options = {
  bundle: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
  define: { ORT_VERSION: JSON.stringify(ort), AVIF_VERSION: JSON.stringify(avif) },
};

rmSync(path("dist"), { recursive: true, force: true });
mkdirSync(path("dist"));
await build({ ...options, entryPoints: ENTRIES.map((name) => path(`src/${name}.ts`)), outdir: path("dist") });
await build({ ...options, entryPoints: [path("test/modules.ts")], outfile: path("test/built.js") });

const sources = readdirSync(path("src")).sort();
for (const name of sources.filter((name) => !name.endsWith(".ts"))) copyFileSync(path(`src/${name}`), path(`dist/${name}`));

// Versions are in these files' names, so that browsers may keep them for good.
for (const [name, folder, file] of [
  [`ort-${ort}`, "onnxruntime-web/dist", ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"]],
  [`avif-${avif}`, "@jsquash/avif/codec/enc", ["avif_enc.js", "avif_enc.wasm"]],
]) {
  const [script, wasm] = file.map((each) => readFileSync(path(`node_modules/${folder}/${each}`)));
  writeFileSync(path(`dist/${name}.js`), script);
  writeFileSync(path(`dist/${name}.wasm.gz`), gzipSync(wasm, { level: 9 }));
}

// Of what it was made: a test compares.
const hash = createHash("sha256");
for (const name of ["build.mjs", "package-lock.json", ...sources.map((name) => `src/${name}`)]) hash.update(readFileSync(path(name)));
writeFileSync(path("dist/sources.sha256"), `${hash.digest("hex")}\n`);
