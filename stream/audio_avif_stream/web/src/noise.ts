/** Background noise in the mel domain. As `audio_avif/codec/noise.py`; `docs/design/pauses.md` gives the reasons. */

import { type MelConfig, type TileConfig, frameS } from "./config.js";
import { type Frame, naturalFluctuation } from "./features.js";

const QUIET_LOG10 = -3;
const WINDOW_S = 1.5;
const WINDOW_BLOCKS = 6;
const SMOOTHING_S = 0.06;
const AVERAGE_S = 0.3;
const NEAR_LOG10 = 0.4;
const RISE_LOG10_PER_S = 0.15;
const NEIGHBOURS = 2;
const NATURAL_NOISE_FRAMES = 256;

/**
 * A listener's estimate of the background: the mean of the values near the minimum of the last 1.5 s in each band.
 * It falls at once and rises slowly.
 */
export class FloorTracker {
  floor: Frame;
  private readonly smoothed: Float32Array;
  private readonly minimum: Frame;
  private block: Float32Array;
  private blocks: Float32Array[] = [];
  private frames = 0;

  constructor(private readonly mel: MelConfig) {
    this.floor = new Float32Array(mel.n_mels).fill(QUIET_LOG10);
    this.minimum = this.floor.slice();
    this.smoothed = new Float32Array(mel.n_mels);
    this.block = new Float32Array(mel.n_mels).fill(Infinity);
  }

  push(logMel: Frame[]): void {
    for (const frame of logMel) this.pushFrame(frame);
  }

  private pushFrame(frame: Frame): void {
    const dt = frameS(this.mel);
    const smoothing = 1 - Math.exp(-dt / SMOOTHING_S);
    const averaging = 1 - Math.exp(-dt / AVERAGE_S);
    for (let band = 0; band < this.mel.n_mels; band++) {
      const around = frame.subarray(Math.max(0, band - NEIGHBOURS), band + NEIGHBOURS + 1);
      const level = around.reduce((sum, x) => sum + x, 0) / around.length;
      this.smoothed[band] += (this.frames ? smoothing : 1) * (level - this.smoothed[band]);
      this.block[band] = Math.min(this.block[band], this.smoothed[band]);
      const window = Math.min(this.block[band], ...this.blocks.map((block) => block[band]));
      this.minimum[band] = Math.min(window, Math.max(this.minimum[band], QUIET_LOG10) + RISE_LOG10_PER_S * dt);
      const isNear = this.smoothed[band] < this.minimum[band] + NEAR_LOG10;
      const mean = isNear ? this.floor[band] + averaging * (frame[band] - this.floor[band]) : this.floor[band];
      this.floor[band] = Math.min(Math.max(mean, this.minimum[band]), this.minimum[band] + NEAR_LOG10);
    }
    this.frames++;
    if (this.frames % Math.max(1, Math.round(WINDOW_S / WINDOW_BLOCKS / dt)) === 0) {
      this.blocks = [...this.blocks, this.block].slice(-WINDOW_BLOCKS);
      this.block = new Float32Array(this.mel.n_mels).fill(Infinity);
    }
  }
}

/** Log10 magnitudes of pixels. */
export function fromPixel(pixel: number, tile: TileConfig): number {
  return tile.log10_min + (pixel * (tile.log10_max - tile.log10_min)) / 255;
}

/** The smooth envelope whose groups of bands have the means that `levels` tell, lowest group first. */
export function noiseEnvelope(levels: Uint8Array, nMels: number, tile: TileConfig): Frame {
  const groups = levels.length;
  const lines = Array.from({ length: groups }, (_, point) =>
    Float64Array.from({ length: nMels }, (_, band) => {
      const place = Math.min(Math.max(((band + 0.5) * groups) / nMels - 0.5, 0), groups - 1);
      return Math.max(0, 1 - Math.abs(place - point));
    }),
  );
  const groupOf = (band: number): number => Math.floor((band * groups) / nMels);
  const means = lines[0].map(() => 0).slice(0, groups);
  const system = Array.from(means, (_, group) => {
    const bands = [...Array(nMels).keys()].filter((band) => groupOf(band) === group);
    const row = lines.map((line) => bands.reduce((sum, band) => sum + line[band], 0) / bands.length);
    return [...row, fromPixel(levels[group], tile)];
  });
  const points = solve(system);
  return Float32Array.from({ length: nMels }, (_, band) => {
    const value = points.reduce((sum, point, i) => sum + point * lines[i][band], 0);
    return Math.min(Math.max(value, tile.log10_min), tile.log10_max); // the interpolation overshoots between unlike groups
  });
}

/** Gauss and Jordan's elimination of `[n, n + 1]`, whose diagonal is the largest of each row here. */
function solve(rows: number[][]): number[] {
  for (let i = 0; i < rows.length; i++) {
    rows[i] = rows[i].map((x) => x / rows[i][i]);
    for (let j = 0; j < rows.length; j++) {
      const factor = rows[j][i];
      if (j !== i) rows[j] = rows[j].map((x, k) => x - factor * rows[i][k]);
    }
  }
  return rows.map((row) => row[rows.length]);
}

let known: { mel: MelConfig; frames: Frame[] } | null = null;

/** Background noise of any envelope that fluctuates as natural noise does; the first one takes a while to make. */
export class NoiseSource {
  private readonly fluctuation: Frame[];
  private at = 0;

  constructor(mel: MelConfig) {
    if (known?.mel !== mel) known = { mel, frames: naturalFluctuation(mel, NATURAL_NOISE_FRAMES) };
    this.fluctuation = known.frames;
  }

  frames(envelope: Frame, count: number): Frame[] {
    return Array.from({ length: count }, () => {
      const fluctuation = this.fluctuation[this.at++ % NATURAL_NOISE_FRAMES];
      return envelope.map((x, band) => x + fluctuation[band]);
    });
  }
}
