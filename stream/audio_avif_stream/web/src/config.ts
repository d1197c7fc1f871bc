/** The mel definition and the tile format, which sender and listener share. As `audio_avif/config.py`. */

import { WireError } from "./errors.js";

export const RATE_HZ = 16_000;
export const MAX_TILE_FRAMES = 64;
export const MAX_REDUNDANCY = 8;

/** The log-mel definition; scale, area norm, magnitude and log10 are fixed. */
export interface MelConfig {
  rate_hz: number;
  n_fft: number;
  hop_samples: number;
  n_mels: number;
  fmin_hz: number;
  fmax_hz: number;
  floor: number;
}

/** The width of a tile, and the log10 magnitudes of pixels 0 and 255. */
export interface TileConfig {
  frames: number;
  log10_min: number;
  log10_max: number;
}

/** The mel of the vocoders' training. */
export const USUAL_MEL: MelConfig = {
  rate_hz: RATE_HZ,
  n_fft: 1024,
  hop_samples: 256,
  n_mels: 80,
  fmin_hz: 80,
  fmax_hz: 7600,
  floor: 1e-10,
};

/** The tiles that pages send. */
export const USUAL_TILE: TileConfig = { frames: 8, log10_min: -5.5, log10_max: 1 };

const INTEGERS = new Set(["rate_hz", "n_fft", "hop_samples", "n_mels", "frames"]);

/** Numbers of exactly these keys from untrusted JSON. */
function numbersOf<T extends object>(name: string, values: unknown, keys: (keyof T & string)[]): T {
  const given = values as Record<string, unknown>;
  if (Object.keys(given).length !== keys.length || !keys.every((key) => key in given)) {
    throw new WireError(`the stream's settings make no sense: ${name} needs exactly the keys ${keys.join(", ")}`);
  }
  for (const key of keys) {
    const value = given[key];
    const isNumber = typeof value === "number" && (!INTEGERS.has(key) || Number.isInteger(value) || value === Infinity);
    if (!isNumber) throw new WireError(`the stream's settings make no sense: ${name}.${key} must be a number`);
    if (!INTEGERS.has(key) && !Number.isFinite(value)) {
      throw new WireError(`the stream's settings make no sense: ${name}.${key} is too large a number`);
    }
  }
  return Object.fromEntries(keys.map((key) => [key, given[key]])) as T;
}

function require(holds: boolean, sentence: string): void {
  if (!holds) throw new WireError(`the stream's settings make no sense: ${sentence}`);
}

export function melOf(values: unknown): MelConfig {
  const mel = numbersOf<MelConfig>("MelConfig", values, Object.keys(USUAL_MEL) as (keyof MelConfig)[]);
  require(mel.rate_hz >= 4000 && mel.rate_hz <= 192_000, "rate_hz must be 4000 to 192000");
  require(mel.n_fft >= 64 && mel.n_fft <= 8192 && mel.n_fft % 2 === 0, "n_fft must be an even number from 64 to 8192");
  const divides = mel.hop_samples >= 16 && mel.hop_samples <= mel.n_fft && mel.n_fft % mel.hop_samples === 0;
  require(divides, "hop_samples must divide n_fft and be at least 16");
  require(mel.n_mels >= 8 && mel.n_mels <= 256, "n_mels must be 8 to 256");
  const isWithin = mel.fmin_hz >= 0 && mel.fmin_hz < mel.fmax_hz && mel.fmax_hz <= mel.rate_hz / 2;
  require(isWithin, "mel bands must lie within 0 and half the rate");
  require(mel.floor > 0 && mel.floor < 1, "floor must lie between 0 and 1");
  return mel;
}

export function tileOf(values: unknown): TileConfig {
  const tile = numbersOf<TileConfig>("TileConfig", values, ["frames", "log10_min", "log10_max"]);
  require(tile.frames >= 2 && tile.frames <= MAX_TILE_FRAMES, "a tile holds 2 to 64 frames");
  const isRange = tile.log10_min >= -20 && tile.log10_min < tile.log10_max && tile.log10_max <= 10;
  require(isRange, "the value range must lie within -20..10");
  return tile;
}

export function frameS(mel: MelConfig): number {
  return mel.hop_samples / mel.rate_hz;
}

export function isUsual(mel: MelConfig): boolean {
  return (Object.keys(USUAL_MEL) as (keyof MelConfig)[]).every((key) => mel[key] === USUAL_MEL[key]);
}
