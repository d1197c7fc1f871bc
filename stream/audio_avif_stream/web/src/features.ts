/** The mel scale, and log-mel of sound. As `audio_avif/signal/features.py`: Slaney scale and area norm, magnitude, log10. */

import type { MelConfig } from "./config.js";

/** One column of log10 magnitudes, low band first. */
export type Frame = Float32Array;

const LINEAR_HZ = 1000;
const LINEAR_MELS = 15;
const LOG_STEP = Math.log(6.4) / 27;

function toMel(hz: number): number {
  return hz < LINEAR_HZ ? (3 * hz) / 200 : LINEAR_MELS + Math.log(hz / LINEAR_HZ) / LOG_STEP;
}

function toHz(mel: number): number {
  return mel < LINEAR_MELS ? (200 * mel) / 3 : LINEAR_HZ * Math.exp(LOG_STEP * (mel - LINEAR_MELS));
}

/** The fractional band of a frequency: 0 is the centre of the lowest, `n_mels - 1` of the highest. */
export function bandAt(hz: number, mel: MelConfig): number {
  const [low, high] = [toMel(mel.fmin_hz), toMel(mel.fmax_hz)];
  return ((toMel(hz) - low) / (high - low)) * (mel.n_mels + 1) - 1;
}

/** Triangles of equal area: for each band the first bin it weighs, and the weights from there on. */
function melFilters(mel: MelConfig): { first: number; weights: Float64Array }[] {
  const [low, high] = [toMel(mel.fmin_hz), toMel(mel.fmax_hz)];
  const edge = (i: number): number => toHz(low + ((high - low) * i) / (mel.n_mels + 1));
  const binHz = mel.rate_hz / mel.n_fft;
  return Array.from({ length: mel.n_mels }, (_, band) => {
    const [left, centre, right] = [edge(band), edge(band + 1), edge(band + 2)];
    const first = Math.floor(left / binHz) + 1;
    const count = Math.max(0, Math.ceil(right / binHz) - first);
    const weights = new Float64Array(count).map((_, i) => {
      const hz = (first + i) * binHz;
      return (Math.max(0, Math.min((hz - left) / (centre - left), (right - hz) / (right - centre))) * 2) / (right - left);
    });
    return { first, weights };
  });
}

/** Fourier transform in place; the size is a power of two. */
function fft(re: Float64Array, im: Float64Array): void {
  const size = re.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let span = 2; span <= size; span *= 2) {
    const half = span / 2;
    for (let k = 0; k < half; k++) {
      const [cos, sin] = [Math.cos((-2 * Math.PI * k) / span), Math.sin((-2 * Math.PI * k) / span)];
      for (let a = k; a < size; a += span) {
        const b = a + half;
        const [x, y] = [re[b] * cos - im[b] * sin, re[b] * sin + im[b] * cos];
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}

/** Standard normal numbers, the same on every run (mulberry32, Box and Muller). */
function normal(): () => number {
  let state = 1;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** Log-mel frames of streamed samples; frame k is centred on sample `hop_samples * k`. */
export class LogMelStream {
  private pending: Float64Array;
  private readonly window: Float64Array;
  private readonly filters;

  constructor(private readonly mel: MelConfig) {
    this.pending = new Float64Array(mel.n_fft / 2);
    this.window = new Float64Array(mel.n_fft).map((_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / mel.n_fft));
    this.filters = melFilters(mel);
  }

  push(samples: ArrayLike<number>): Frame[] {
    const { n_fft, hop_samples } = this.mel;
    const all = new Float64Array(this.pending.length + samples.length);
    all.set(this.pending);
    all.set(samples, this.pending.length);
    const frames: Frame[] = [];
    let at = 0;
    for (; at + n_fft <= all.length; at += hop_samples) frames.push(this.frame(all.subarray(at, at + n_fft)));
    this.pending = all.slice(at);
    return frames;
  }

  /** The last frames, whose windows reach beyond the end into silence. */
  flush(): Frame[] {
    return this.push(new Float64Array(this.mel.n_fft / 2));
  }

  private frame(samples: Float64Array): Frame {
    const re = samples.map((x, i) => x * this.window[i]);
    const im = new Float64Array(samples.length);
    fft(re, im);
    return Float32Array.from(this.filters, ({ first, weights }) => {
      const sum = weights.reduce((sum, weight, i) => sum + weight * Math.hypot(re[first + i], im[first + i]), 0);
      return Math.log10(Math.max(sum, this.mel.floor));
    });
  }
}

/** `count` frames of the log-mel of white noise, relative to each band's mean. */
export function naturalFluctuation(mel: MelConfig, count: number): Frame[] {
  const edge = mel.n_fft / mel.hop_samples;
  const noise = new Float64Array((count + edge) * mel.hop_samples + mel.n_fft).map(normal());
  const frames = new LogMelStream(mel).push(noise).slice(edge, edge + count);
  for (let band = 0; band < mel.n_mels; band++) {
    const mean = frames.reduce((sum, frame) => sum + frame[band], 0) / count;
    for (const frame of frames) frame[band] -= mean;
  }
  return frames;
}
