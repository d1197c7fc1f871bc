// Makes dist/, which is served, and test/built.js, which the tests import, from src/.
// With --check it makes them in a temporary folder and compares: exit status 1 if the committed files differ.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const ENTRIES = ["page", "engine", "worklet", "speak", "speaker", "microphone", "call"];

const HERE = fileURLToPath(new URL(".", import.meta.url));
const path = (name) => join(HERE, name);
const versionOf = (name) => JSON.parse(readFileSync(path(`node_modules/${name}/package.json`))).version;

/** Write dist/ and test/built.js into `folder`. */
async function make(folder) {
  const [ort, avif] = [versionOf("onnxruntime-web"), versionOf("@jsquash/avif")];
  const options = {
    absWorkingDir: HERE,
    bundle: true,
    format: "esm",
    target: "es2022",
    legalComments: "none",
    define: { ORT_VERSION: JSON.stringify(ort), AVIF_VERSION: JSON.stringify(avif) },
  };
  const dist = join(folder, "dist");
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist);
  await build({ ...options, entryPoints: ENTRIES.map((name) => path(`src/${name}.ts`)), outdir: dist });
  await build({ ...options, entryPoints: [path("test/modules.ts")], outfile: join(folder, "test/built.js") });

  const sources = readdirSync(path("src")).sort();
  for (const name of sources.filter((name) => !name.endsWith(".ts"))) copyFileSync(path(`src/${name}`), join(dist, name));

  // Versions are in these files' names, so that browsers may keep them for good.
  for (const [name, from, files] of [
    [`ort-${ort}`, "onnxruntime-web/dist", ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"]],
    [`avif-${avif}`, "@jsquash/avif/codec/enc", ["avif_enc.js", "avif_enc.wasm"]],
  ]) {
    const [script, wasm] = files.map((file) => readFileSync(path(`node_modules/${from}/${file}`)));
    writeFileSync(join(dist, `${name}.js`), script);
    writeFileSync(join(dist, `${name}.wasm.gz`), gzipSync(wasm, { level: 9 }));
  }

  // A test compares this with the sources, where node is not installed.
  const hash = createHash("sha256");
  for (const name of ["build.mjs", "package-lock.json", ...sources.map((name) => `src/${name}`)]) hash.update(readFileSync(path(name)));
  writeFileSync(join(dist, "sources.sha256"), `${hash.digest("hex")}\n`);
}

/** The built files under `folder` by name; zlib's versions compress differently, so archives are opened. */
function builtFiles(folder) {
  const names = [...readdirSync(join(folder, "dist")).map((name) => `dist/${name}`), "test/built.js"];
  return new Map(
    names.map((name) => {
      const data = readFileSync(join(folder, name));
      return [name, name.endsWith(".gz") ? gunzipSync(data) : data];
    }),
  );
}

/** The names of committed files that are not those which a build makes now. */
async function differences() {
  const folder = mkdtempSync(join(tmpdir(), "audio-avif-web-"));
  try {
    await make(folder);
    const [made, committed] = [builtFiles(folder), builtFiles(HERE)];
    const names = [...new Set([...made.keys(), ...committed.keys()])];
    return names.filter((name) => !made.get(name)?.equals(committed.get(name) ?? Buffer.alloc(0)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (process.argv.includes("--check")) {
  const names = await differences();
  if (names.length) console.error(`built from other sources than src/: ${names.join(", ")}; run npm run build`);
  process.exitCode = names.length ? 1 : 0;
} else await make(HERE);
