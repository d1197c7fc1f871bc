/** Faster and slower speech, made of log-mel frames. As `audio_avif/signal/time_scaling.py`. */

import { mix } from "./concealment.js";
import type { Frame } from "./features.js";

const MAX_CHANGE = 0.15; // of the frames, over any length of speech: more is heard as haste

/** Lay frames over another count of them by interpolation, going on evenly from the frame before. */
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
  shortenedFrames = 0;
  lengthenedFrames = 0;
  private allowance = 0;

  /** Take a tile; return it with as many frames more, or fewer, as are wanted and allowed. */
  push(before: Frame, logMel: Frame[], wanted: number): Frame[] {
    const share = MAX_CHANGE * logMel.length;
    this.allowance = Math.min(this.allowance + share, Math.max(1, share));
    const change = Math.sign(wanted) * Math.min(Math.abs(wanted), Math.floor(this.allowance), logMel.length - 1);
    if (!change) return logMel;
    this.allowance -= Math.abs(change);
    this.shortenedFrames += Math.max(0, -change);
    this.lengthenedFrames += Math.max(0, change);
    return resampleFrames(before, logMel, logMel.length + change);
  }
}
