/** Frames in place of tiles that did not come. As `audio_avif/codec/concealment.py`. */

import type { Frame } from "./features.js";

const DECAY_LOG10_PER_S = 10;

/** The frame that lies between two, `share` of the way from `a` to `b`. */
export function mix(a: Frame, b: Frame, share: number): Frame {
  return a.map((x, band) => x + (b[band] - x) * share);
}

/** Frames interpolated between the last one heard and the next one known. */
export function interpolate(before: Frame, after: Frame, count: number): Frame[] {
  return Array.from({ length: count }, (_, i) => mix(before, after, (i + 1) / (count + 1)));
}

/** Frames that fall from the last one heard to the background; quieter bands stay unchanged. */
export function decay(before: Frame, floor: Frame, count: number, frameS: number): Frame[] {
  return Array.from({ length: count }, (_, i) =>
    before.map((x, band) => Math.max(x - (i + 1) * DECAY_LOG10_PER_S * frameS, Math.min(x, floor[band]))),
  );
}

/** The louder of fading sound and noise in each band; once the sound has reached the floor, the noise alone. */
export function overNoise(fading: Frame[], floor: Frame, noise: Frame[]): Frame[] {
  return fading.map((frame, i) => frame.map((x, band) => (x > floor[band] ? Math.max(x, noise[i][band]) : noise[i][band])));
}

/** Frames after silence, the first 100 ms of them rising by 20 dB. */
export function fadeIn(logMel: Frame[], frameS: number): Frame[] {
  return logMel.map((frame, i) => frame.map((x) => x + Math.min(i * DECAY_LOG10_PER_S * frameS - 1, 0)));
}
