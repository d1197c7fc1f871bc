/** Time scaling of log-mel frames. As `audio_avif/signal/time_scaling.py`. */

import { mix } from "./concealment.js";
import type { Frame } from "./features.js";

const MAX_CHANGE = 0.15; // share of the frames; more sounds hurried

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

  /** Return a tile with the wanted and allowed number of frames added or removed. */
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
