/** The depth of the playout buffer, and the changes that keep it. As `audio_avif/codec/playout.py`. */

import type { Frame } from "./features.js";
import { ArrivalWatch, DepthWatch } from "./jitter.js";
import { roundHalfToEven } from "./rounding.js";
import { FrameStretcher } from "./time_scaling.js";

const CATCH_UP_S = 0.3; // at 15 % faster, this surplus is gone in two seconds; a larger one is skipped
const TOLERANCE_FRAMES = 0.75;
const TOLERANCE_IN_SPEECH_FRAMES = 2;

/**
 * The playout buffer and the concealment of a stream.
 *
 * At least `minS` of sound, and as much as 95 of 100 tiles need, up to `maxS`, is held ready against jitter. With less
 * than `concealAtS` left and no tile here, concealment is spoken: `maxConcealS` of it, then it fades within `fadeS`.
 */
export interface PlayoutConfig {
  minS: number;
  maxS: number;
  concealAtS: number;
  maxConcealS: number;
  fadeS: number;
}

/** Browsers wake a worker later than an operating system wakes a thread, so the buffer is deeper than in Python. */
export const BROWSER_PLAYOUT: PlayoutConfig = { minS: 0.06, maxS: 1, concealAtS: 0.035, maxConcealS: 1, fadeS: 0.5 };

/** Keeps the playout buffer as deep as the arrivals require. */
export class Pacer {
  /** Processing time of a tile on this machine; the caller of the decoder measures and sets it. */
  processingS = 0;
  private readonly arrivals: ArrivalWatch;
  private readonly depth: DepthWatch;
  private readonly stretcher = new FrameStretcher();
  /** How many copies come with a tile. */
  copies = 0;

  constructor(
    readonly config: PlayoutConfig,
    private readonly tileS: number,
    private readonly frameS: number,
  ) {
    this.arrivals = new ArrivalWatch(frameS);
    this.depth = new DepthWatch(tileS);
  }

  /** How much sound to hold ready against jitter, and until copies have come. */
  get targetS(): number {
    const { minS, maxS, concealAtS } = this.config;
    const marginS = Math.min(minS, concealAtS + this.frameS);
    const jitterS = Math.max(minS, Math.min(this.arrivals.latenessS, maxS) + marginS);
    return jitterS + Math.min(this.copies * this.tileS, maxS);
  }

  /** How much sound should be waiting when a tile arrives on time. */
  get depthS(): number {
    return this.targetS + this.processingS;
  }

  /** Frames left out to catch up. */
  get shortenedFrames(): number {
    return this.stretcher.shortenedFrames;
  }

  /** Frames put in to fall back. */
  get lengthenedFrames(): number {
    return this.stretcher.lengthenedFrames;
  }

  /** Record a packet that arrived at `nowS`, and the number of its copies. */
  push(firstFrame: number, copyCount: number, nowS: number): void {
    this.arrivals.push(firstFrame, nowS);
    this.copies = Math.max(this.copies, copyCount);
  }

  /** Forget earlier arrivals: the next packet comes after silence. */
  forgetArrivals(): void {
    this.arrivals.reset();
  }

  /** Forget earlier depths of the buffer: the sound was interrupted. */
  forgetDepths(): void {
    this.depth.reset();
  }

  /** How much sound should be waiting now that a tile which begins at `firstFrame` is opened. */
  dueS(firstFrame: number, nowS: number): number {
    return this.depthS - (nowS - firstFrame * this.frameS - this.arrivals.baseS);
  }

  /** How many tiles the buffer has room for, with a surplus that can be caught up with soon. */
  roomTiles(bufferedS: number): number {
    const roomS = this.depthS + this.tileS + Math.max(this.tileS, CATCH_UP_S) - bufferedS;
    return Math.max(0, Math.floor(roomS / this.tileS));
  }

  /**
   * Make a tile shorter or longer where the buffer is too deep or too shallow; `before` is the frame spoken last.
   * Quiet frames are changed sooner than speech, and a shallow buffer is filled sooner than a deep one is emptied.
   */
  pushFrames(before: Frame, logMel: Frame[], surplusS: number, isQuiet: boolean): Frame[] {
    const usualS = this.depth.push(surplusS + this.depthS) - this.depthS;
    const toleranceFrames = isQuiet || usualS < 0 ? TOLERANCE_FRAMES : TOLERANCE_IN_SPEECH_FRAMES;
    if (Math.abs(usualS) < toleranceFrames * this.frameS) return logMel;
    const paced = this.stretcher.push(before, logMel, -roundHalfToEven(usualS / this.frameS));
    this.depth.adjust((paced.length - logMel.length) * this.frameS);
    return paced;
  }
}
