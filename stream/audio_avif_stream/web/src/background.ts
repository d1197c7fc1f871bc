/** A pause's noise, and concealment of tiles that did not come. As `audio_avif/codec/background.py`. */

import * as concealment from "./concealment.js";
import { type MelConfig, type TileConfig, frameS } from "./config.js";
import type { Frame } from "./features.js";
import type { Quiet } from "./jitter.js";
import { FloorTracker, NoiseSource } from "./noise.js";

const QUIET_LOG10 = 0.5; // frames at most this much above the background hold no speech

/**
 * Makes frames where no tile has any: noise at the background's level, into which the last sound decays.
 * `pause` is the pause that is being heard, null outside of pauses; its levels take the place of the tracked background.
 */
export class Background {
  pause: Quiet | null = null;
  concealedFrames = 0;
  noiseFrames = 0;
  /** Tests replace it by one that does not fluctuate. */
  noise: Pick<NoiseSource, "frames">;
  private readonly tracker: FloorTracker;
  private fadingFrame: Frame;

  constructor(
    private readonly mel: MelConfig,
    private readonly tile: TileConfig,
  ) {
    this.tracker = new FloorTracker(mel);
    this.noise = new NoiseSource(mel);
    this.fadingFrame = new Float32Array(mel.n_mels).fill(tile.log10_min);
  }

  /** The background's levels. */
  private get floor(): Frame {
    return this.pause?.envelope ?? this.tracker.floor;
  }

  /** Take the frames of a tile; it ends the pause. */
  push(logMel: Frame[]): void {
    this.tracker.push(logMel);
    this.fadingFrame = logMel[logMel.length - 1];
    this.pause = null;
  }

  /** Whether frames are close to the background. */
  isQuiet(logMel: Frame[]): boolean {
    return Math.max(...logMel.map(mean)) < mean(this.floor) + QUIET_LOG10;
  }

  /** Conceal a short gap by frames that lead from one frame to another. */
  interpolate(before: Frame, after: Frame, count: number): Frame[] {
    this.concealedFrames += count;
    return concealment.interpolate(before, after, count);
  }

  /** Make frames: the pause's noise, or concealment. */
  frames(count: number): Frame[] {
    if (this.pause) this.noiseFrames += count;
    else this.concealedFrames += count;
    const floor = this.floor;
    const fading = concealment.decay(this.fadingFrame, floor, count, frameS(this.mel));
    this.fadingFrame = fading[count - 1];
    const frames = concealment.overNoise(fading, floor, this.noise.frames(floor, count));
    return frames.map((frame) => frame.map((x) => Math.max(x, this.tile.log10_min)));
  }
}

function mean(frame: Frame): number {
  return frame.reduce((sum, x) => sum + x, 0) / frame.length;
}
