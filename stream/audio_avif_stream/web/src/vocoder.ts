/** The embedded vocoder: an ONNX graph that carries its own state, run by ONNX Runtime in WebAssembly. */

import type * as Ort from "onnxruntime-web/wasm";
import { USUAL_MEL } from "./config.js";
import type { VocoderStream } from "./decoder.js";
import type { Frame } from "./features.js";

declare const ORT_VERSION: string; // by build.mjs

/** Latency of each model: its metadata has it, but ONNX Runtime's web build does not read metadata. */
export const MODELS = { embedded: 768, "embedded-low": 256 } as const;
export type ModelName = keyof typeof MODELS;

const STATE = "state.";
const NEXT = "next.";
const WARM_UP_TILES = 8;
const WARM_UP_FRAMES = 8;

/** Fetches a model file and reports the loaded share. */
async function download(url: string, onProgress: (share: number) => void): Promise<Uint8Array> {
  const answer = await fetch(url);
  if (!answer.ok || !answer.body) throw new Error(`the server answered ${answer.status}`);
  const size = Number(answer.headers.get("Content-Length")) || 0;
  const parts: Uint8Array[] = [];
  let received = 0;
  const reader = answer.body.getReader();
  for (let part; !(part = await reader.read()).done; ) {
    parts.push(part.value);
    received += part.value.length;
    if (size) onProgress(Math.min(1, received / size));
  }
  const model = new Uint8Array(received);
  let at = 0;
  for (const part of parts) {
    model.set(part, at);
    at += part.length;
  }
  return model;
}

export class Vocoder implements VocoderStream {
  private state: Record<string, Ort.Tensor> = {};
  private unbornSamples = 0;

  /** Processing time of a frame on this machine. */
  private frameCostS = 0;

  private constructor(
    private readonly ort: typeof Ort,
    private readonly session: Ort.InferenceSession,
    readonly latencySamples: number,
  ) {
    this.reset();
  }

  /** Loads model and runtime. Passes their errors on. */
  static async load(name: ModelName, onProgress: (share: number) => void): Promise<Vocoder> {
    const model = await download(`models/${name}.onnx`, onProgress);
    const runtime: string = `./ort-${ORT_VERSION}.js`;
    const ort = (await import(runtime)) as typeof Ort;
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { wasm: new URL(`./ort-${ORT_VERSION}.wasm`, import.meta.url).href };
    ort.env.logLevel = "error";
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], enableMemPattern: false });
    const vocoder = new Vocoder(ort, session, MODELS[name]);
    await vocoder.warmUp();
    return vocoder;
  }

  /** Return to the state before the first frame. */
  reset(): void {
    this.unbornSamples = this.latencySamples;
    for (const input of this.session.inputMetadata) {
      if (!input.isTensor || !input.name.startsWith(STATE)) continue;
      const shape = input.shape.map((size, i) => (i ? Number(size) : 1));
      const zeros = new Float32Array(shape.reduce((product, size) => product * size, 1));
      this.state[input.name] = new this.ort.Tensor("float32", zeros, shape);
    }
  }

  async push(logMel: Frame[]): Promise<Float32Array> {
    if (!logMel.length) return new Float32Array(0);
    const [bands, count] = [logMel[0].length, logMel.length];
    const rows = new Float32Array(bands * count);
    logMel.forEach((frame, t) => frame.forEach((x, band) => (rows[band * count + t] = x)));
    const input = new this.ort.Tensor("float32", rows, [1, bands, count]);
    const out = await this.session.run({ log_mel: input, ...this.state });
    for (const name of Object.keys(this.state)) this.state[name] = out[NEXT + name.slice(STATE.length)];
    const samples = out.samples.data as Float32Array;
    const skipped = Math.min(this.unbornSamples, samples.length);
    this.unbornSamples -= skipped;
    return samples.slice(skipped);
  }

  /** Feed silence until the last frame's samples are out. */
  async flush(): Promise<Float32Array> {
    const { n_mels: bands, floor, hop_samples: hop } = USUAL_MEL;
    const silence = new Float32Array(bands).fill(Math.log10(floor));
    const frames = Math.ceil(this.latencySamples / hop);
    const tail = await this.push(Array.from({ length: frames }, () => silence));
    return tail.subarray(0, tail.length - (frames * hop - this.latencySamples));
  }

  /** Processing time of a tile of `frames` frames in seconds. */
  costS(frames: number): number {
    return frames * this.frameCostS;
  }

  /** Run the vocoder on silence, so that first-run costs do not occur in real time. */
  private async warmUp(): Promise<void> {
    const silence = Array.from({ length: WARM_UP_FRAMES }, () => new Float32Array(USUAL_MEL.n_mels).fill(-5));
    let minMs = Infinity; // the first runs include compilation
    for (let i = 0; i < WARM_UP_TILES; i++) {
      const started = performance.now();
      await this.push(silence);
      minMs = Math.min(minMs, performance.now() - started);
    }
    this.frameCostS = minMs / 1000 / WARM_UP_FRAMES;
    this.reset();
  }
}
