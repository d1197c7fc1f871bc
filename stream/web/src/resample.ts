/** 16 kHz to the rate of a device that takes no other: windowed sinc, after Smith and Gossett 1984. */

const HALF_TAPS = 16;
const PHASES = 512;
const KAISER_BETA = 8;
const CUTOFF = 0.95;

function bessel0(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; k < 30; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

/** Weights of the samples around a place, for each fraction of a sample and one more. */
function makeTable(): Float32Array[] {
  return Array.from({ length: PHASES + 1 }, (_, phase) =>
    Float32Array.from({ length: 2 * HALF_TAPS }, (_, tap) => {
      const t = tap - HALF_TAPS + 1 - phase / PHASES;
      const inside = 1 - (t / HALF_TAPS) ** 2;
      const window = inside > 0 ? bessel0(KAISER_BETA * Math.sqrt(inside)) / bessel0(KAISER_BETA) : 0;
      return window * CUTOFF * (t ? Math.sin(Math.PI * CUTOFF * t) / (Math.PI * CUTOFF * t) : 1);
    }),
  );
}

/** Pulls samples one by one and makes as many at the other rate as are asked for; any chunking gives the same. */
export class Resampler {
  private readonly table = makeTable();
  private readonly history = new Float32Array(2 * HALF_TAPS);
  private place = 1;

  constructor(private readonly step: number) {}

  fill(out: Float32Array, next: () => number): void {
    for (let i = 0; i < out.length; i++) {
      for (; this.place >= 1; this.place--) {
        this.history.copyWithin(0, 1);
        this.history[this.history.length - 1] = next();
      }
      const phase = this.place * PHASES;
      const [lower, upper] = [this.table[Math.floor(phase)], this.table[Math.floor(phase) + 1]];
      const share = phase - Math.floor(phase);
      let sum = 0;
      for (let tap = 0; tap < lower.length; tap++) {
        sum += this.history[tap] * (lower[tap] + share * (upper[tap] - lower[tap]));
      }
      out[i] = sum;
      this.place += this.step;
    }
  }
}
