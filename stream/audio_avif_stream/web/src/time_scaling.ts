/** Time scaling: whole frames before the vocoder, and less than a frame after it. As `audio_avif/signal/time_scaling.py`. */

import { mix } from "./concealment.js";
import type { Frame } from "./features.js";

const MAX_CHANGE = 0.15; // share of the frames; more sounds hurried
const OVERLAP_SAMPLES = 64;
const PLACE_STEP_SAMPLES = 16;
const LAG_STEP_SAMPLES = 4;
const MAX_LAG_SAMPLES = 160; // the pitch period of a voice at 100 Hz
const MIN_SHARE = 0.5;
const DEFERRAL_PENALTY = 0.1;
const MAX_DIFFERENCE = 0.2; // energy of the difference to that of both sides
const BETWEEN_TRIES_SAMPLES = 1600;
const SILENCE = 1e-9;

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

/** Leaves out or puts in up to 10 ms of samples at a join that is not heard: both its sides are alike, or quiet. */
export class SampleSplicer {
  private sinceTrySamples = BETWEEN_TRIES_SAMPLES;

  /** Return `samples` with up to `wanted` put in, or left out where that is negative. */
  push(samples: Float32Array, wanted: number, isQuiet: boolean): Float32Array {
    this.sinceTrySamples += samples.length;
    if (!wanted || this.sinceTrySamples < BETWEEN_TRIES_SAMPLES) return samples;
    this.sinceTrySamples = 0;
    const wantedSamples = Math.min(Math.abs(wanted), MAX_LAG_SAMPLES);
    const { place, lag } = bestJoin(samples, wantedSamples, isQuiet ? Infinity : MAX_DIFFERENCE);
    if (!lag) return samples;
    const [from, to] = wanted < 0 ? [place, place + lag] : [place + lag, place];
    const spliced = new Float32Array(samples.length + from - to);
    spliced.set(samples.subarray(0, from));
    for (let i = 0; i < OVERLAP_SAMPLES; i++) {
      const share = (i + 1) / (OVERLAP_SAMPLES + 1);
      spliced[from + i] = samples[from + i] + (samples[to + i] - samples[from + i]) * share;
    }
    spliced.set(samples.subarray(to + OVERLAP_SAMPLES), from + OVERLAP_SAMPLES);
    return spliced;
  }
}

/** The place and the lag at which samples are most like themselves; lag 0 where none are alike enough. */
function bestJoin(samples: Float32Array, wantedSamples: number, maxDifference: number): { place: number; lag: number } {
  let best = { place: 0, lag: 0 };
  let leastCost = Infinity;
  const minSamples = Math.max(1, Math.floor(MIN_SHARE * wantedSamples));
  const maxSamples = Math.min(wantedSamples, samples.length - OVERLAP_SAMPLES);
  for (let lag = maxSamples; lag >= minSamples; lag -= LAG_STEP_SAMPLES) {
    let place = 0;
    let least = Infinity;
    for (let start = 0; start + lag + OVERLAP_SAMPLES <= samples.length; start += PLACE_STEP_SAMPLES) {
      const difference = differenceAt(samples, start, lag);
      if (difference < least) [place, least] = [start, difference];
    }
    const cost = least + (DEFERRAL_PENALTY * (wantedSamples - lag)) / wantedSamples;
    if (least <= maxDifference && cost < leastCost) [best, leastCost] = [{ place, lag }, cost];
  }
  return best;
}

/** Energy of what differs between a window and the one `lag` later, relative to the energy of both. */
function differenceAt(samples: Float32Array, start: number, lag: number): number {
  let different = 0;
  let energy = SILENCE;
  for (let i = start; i < start + OVERLAP_SAMPLES; i++) {
    const [left, right] = [samples[i], samples[i + lag]];
    different += (left - right) ** 2;
    energy += left ** 2 + right ** 2;
  }
  return different / energy;
}
