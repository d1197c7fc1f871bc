/** Resampling between 16 kHz and the device's rate by a windowed sinc, after Smith and Gossett 1984. */

const HALF_TAPS = 16; // of the slower rate
const PHASES = 512;
const KAISER_BETA = 8;
const CUTOFF = 0.95;

function bessel0(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; k < 30; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

/** Weights of the samples around a place, for each fraction of a sample and one more. */
function makeTable(halfTaps: number, cutoff: number): Float32Array[] {
  return Array.from({ length: PHASES + 1 }, (_, phase) =>
    Float32Array.from({ length: 2 * halfTaps }, (_, tap) => {
      const t = tap - halfTaps + 1 - phase / PHASES;
      const inside = 1 - (t / halfTaps) ** 2;
      const window = inside > 0 ? bessel0(KAISER_BETA * Math.sqrt(inside)) / bessel0(KAISER_BETA) : 0;
      return window * cutoff * (t ? Math.sin(Math.PI * cutoff * t) / (Math.PI * cutoff * t) : 1);
    }),
  );
}

/** Makes one sample for every `step` input samples; any chunking gives the same result. */
export class Resampler {
  private readonly table: Float32Array[];
  private readonly history: Float32Array;
  private place = 1;

  constructor(private readonly step: number) {
    const halfTaps = Math.ceil(HALF_TAPS * Math.max(1, step));
    this.table = makeTable(halfTaps, CUTOFF / Math.max(1, step));
    this.history = new Float32Array(2 * halfTaps);
  }

  /** Pull samples one by one until `out` is full. */
  fill(out: Float32Array, next: () => number): void {
    for (let i = 0; i < out.length; i++) {
      while (this.place >= 1) this.take(next());
      out[i] = this.make();
    }
  }

  /** Take samples and return the resampled ones. */
  push(samples: Float32Array): Float32Array {
    const out: number[] = [];
    for (const sample of samples) {
      this.take(sample);
      while (this.place < 1) out.push(this.make());
    }
    return Float32Array.from(out);
  }

  private take(sample: number): void {
    this.history.copyWithin(0, 1);
    this.history[this.history.length - 1] = sample;
    this.place--;
  }

  private make(): number {
    const phase = this.place * PHASES;
    const [lower, upper] = [this.table[Math.floor(phase)], this.table[Math.floor(phase) + 1]];
    const share = phase - Math.floor(phase);
    let sum = 0;
    for (let tap = 0; tap < lower.length; tap++) {
      sum += this.history[tap] * (lower[tap] + share * (upper[tap] - lower[tap]));
    }
    this.place += this.step;
    return sum;
  }
}
