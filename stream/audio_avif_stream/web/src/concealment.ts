/** Frames in place of tiles that did not come, and faster or slower speech. As `concealment.py`, `time_scaling.py`. */

import type { Frame } from "./features.js";

const DECAY_LOG10_PER_S = 10;
const MOST_CHANGE = 0.15;

function mix(a: Frame, b: Frame, share: number): Frame {
  return a.map((x, band) => x + (b[band] - x) * share);
}

/** Frames that lead from the last one heard to the next one known. */
export function interpolate(before: Frame, after: Frame, count: number): Frame[] {
  return Array.from({ length: count }, (_, i) => mix(before, after, (i + 1) / (count + 1)));
}

/** Frames that fall from the last one heard to the background; what is quieter already stays as it is. */
export function decay(before: Frame, floor: Frame, count: number, frameS: number): Frame[] {
  return Array.from({ length: count }, (_, i) =>
    before.map((x, band) => Math.max(x - (i + 1) * DECAY_LOG10_PER_S * frameS, Math.min(x, floor[band]))),
  );
}

/** The louder of fading sound and noise in each band; where the sound has arrived at the floor, the noise alone. */
export function overNoise(fading: Frame[], floor: Frame, noise: Frame[]): Frame[] {
  return fading.map((frame, i) => frame.map((x, band) => (x > floor[band] ? Math.max(x, noise[i][band]) : noise[i][band])));
}

/** Frames after silence, the first 100 ms of them rising by 20 dB. */
export function fadeIn(logMel: Frame[], frameS: number): Frame[] {
  return logMel.map((frame, i) => frame.map((x) => x + Math.min(i * DECAY_LOG10_PER_S * frameS - 1, 0)));
}

/** Lays frames over another count of them by interpolation, going on evenly from the frame before. */
function resampleFrames(before: Frame, logMel: Frame[], count: number): Frame[] {
  const known = [before, ...logMel];
  return Array.from({ length: count }, (_, i) => {
    const place = ((i + 1) * logMel.length) / count;
    const left = Math.min(Math.floor(place), logMel.length - 1);
    return mix(known[left], known[left + 1], place - left);
  });
}

/** Leaves out or puts in frames as asked, at most 15 of 100. */
export class FrameStretcher {
  private allowance = 0;

  push(before: Frame, logMel: Frame[], wanted: number): Frame[] {
    const share = MOST_CHANGE * logMel.length;
    this.allowance = Math.min(this.allowance + share, Math.max(1, share));
    const change = Math.sign(wanted) * Math.min(Math.abs(wanted), Math.floor(this.allowance), logMel.length - 1);
    if (!change) return logMel;
    this.allowance -= Math.abs(change);
    return resampleFrames(before, logMel, logMel.length + change);
  }
}
