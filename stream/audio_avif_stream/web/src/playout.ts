/** The depth of the playout buffer, and the changes that keep it. As `audio_avif/codec/playout.py`. */

import type { Frame } from "./features.js";
import { ArrivalWatch, DepthWatch, median, recentS } from "./jitter.js";
import { roundHalfToEven } from "./rounding.js";
import { FrameStretcher } from "./time_scaling.js";

const CATCH_UP_S = 0.3; // at 15 % faster, this surplus is gone in two seconds; a larger one is skipped
const KNOWN_S = 1;
const MAX_SEEN = 512;
const OF_LATE = 9;
const TOLERANCE_FRAMES = 0.75;
const TOLERANCE_BELOW_FRAMES = 0.375;
const TOLERANCE_IN_SPEECH_FRAMES = 1.25;
const TOLERANCE_OF_SPLICING_FRAMES = 0.2;
const MARGIN_FRAMES = 0.5;
const RESERVE_S = 0.005; // a worklet takes 128 samples at once, and a worker that waits is woken later

/**
 * The playout buffer and the concealment of a stream.
 *
 * At least `minS` of sound, and as much as the tiles need, up to `maxS`, is held ready against jitter. With less than
 * `concealAtS` left and no tile here, or less where this machine is punctual, concealment is spoken: `maxConcealS` of
 * it, then it fades within `fadeS`.
 */
export interface PlayoutConfig {
  minS: number;
  maxS: number;
  concealAtS: number;
  maxConcealS: number;
  fadeS: number;
}

/** Browsers wake a worker later than an operating system wakes a thread, so concealment is made sooner than in Python. */
export const BROWSER_PLAYOUT: PlayoutConfig = { minS: 0, maxS: 1, concealAtS: 0.035, maxConcealS: 1, fadeS: 0.5 };

/** Finds how much sound must be waiting because this machine is not punctual, from the last `recentS`. */
export class Steadiness {
  /**
   * A sum: what the output cannot play until more is written, how much sooner than of late it was about to run dry, and
   * how much longer than usual a tile's sound took. Null in the first second.
   */
  unsteadyS: number | null = null;
  private seen: { nowS: number; endS: number; delayS: number }[] = [];
  private beganS: number | null = null;

  /** Forget what was before a silence; the value stays until a second is known again. */
  reset(): void {
    this.seen = [];
    this.beganS = null;
  }

  /** Record a tile's sound, made `delayS` after the tile came; of `writtenS` in all, `bufferedS` were waiting. */
  push(nowS: number, writtenS: number, bufferedS: number, delayS: number): void {
    this.beganS ??= nowS;
    const earliestS = nowS - recentS(nowS - this.beganS);
    this.seen.push({ nowS, endS: nowS + bufferedS - writtenS, delayS });
    this.seen = this.seen.filter((each) => each.nowS >= earliestS).slice(-MAX_SEEN);
    const ends = this.seen.map((each) => each.endS);
    const delays = this.seen.map((each) => each.delayS);
    const soonerS = Math.max(0, median(ends.slice(-OF_LATE)) - Math.min(...ends));
    const unsteadyS = RESERVE_S + soonerS + Math.max(...delays) - median(delays);
    const isKnown = nowS - this.beganS >= KNOWN_S;
    if (isKnown || (this.unsteadyS !== null && unsteadyS > this.unsteadyS)) this.unsteadyS = unsteadyS;
  }
}

/** Keeps the playout buffer as deep as the arrivals require. */
export class Pacer {
  /** Processing time of a tile on this machine; the caller of the decoder measures and sets it. */
  processingS = 0;
  /** How much sound is needed because this machine is not punctual; the caller measures and sets it. */
  unsteadyS: number;
  private readonly arrivals: ArrivalWatch;
  private readonly depth: DepthWatch;
  private readonly stretcher = new FrameStretcher();
  private splicedOutS = 0;
  private splicedInS = 0;
  /** How many copies come with a tile. */
  copies = 0;

  constructor(
    readonly config: PlayoutConfig,
    private readonly tileS: number,
    private readonly frameS: number,
  ) {
    this.unsteadyS = config.concealAtS;
    this.arrivals = new ArrivalWatch(frameS);
    this.depth = new DepthWatch(tileS);
  }

  /** How much sound to hold ready: what the latest tile needs, but no more than makes 95 of 100 safe; and for copies. */
  get targetS(): number {
    const { minS, maxS, concealAtS } = this.config;
    const usualS = Math.min(this.arrivals.latenessS, maxS) + concealAtS + this.frameS;
    const latestS = this.arrivals.latestS + Math.min(this.unsteadyS, concealAtS) + MARGIN_FRAMES * this.frameS;
    const jitterS = Math.max(minS, Math.min(usualS, latestS));
    return jitterS + Math.min(this.copies * this.tileS, maxS);
  }

  /** How much sound should be waiting when a tile arrives on time. */
  get depthS(): number {
    return this.targetS + this.processingS;
  }

  /** With less sound than this, concealment must be made, or it comes too late. */
  get urgentS(): number {
    return Math.min(this.config.concealAtS, this.unsteadyS) + this.processingS;
  }

  /** Sound left out to catch up. */
  get shortenedS(): number {
    return this.splicedOutS + this.stretcher.shortenedFrames * this.frameS;
  }

  /** Sound put in to fall back. */
  get lengthenedS(): number {
    return this.splicedInS + this.stretcher.lengthenedFrames * this.frameS;
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
   * Quiet frames are changed sooner than speech, and a shallow buffer is filled sooner than a deep one is emptied. What
   * is less than a frame should be put into the samples: `spliceS`, left out of them where negative.
   */
  pushFrames(
    before: Frame,
    logMel: Frame[],
    surplusS: number,
    isQuiet: boolean,
  ): { frames: Frame[]; spliceS: number } {
    const usualS = this.depth.push(surplusS + this.depthS) - this.depthS;
    const aboveFrames = isQuiet ? TOLERANCE_FRAMES : TOLERANCE_IN_SPEECH_FRAMES;
    if (usualS >= -TOLERANCE_BELOW_FRAMES * this.frameS && usualS < aboveFrames * this.frameS) {
      const isKept = Math.abs(usualS) <= TOLERANCE_OF_SPLICING_FRAMES * this.frameS;
      return { frames: logMel, spliceS: isKept ? 0 : -usualS };
    }
    const changeFrames = -(roundHalfToEven(usualS / this.frameS) || -1); // half a frame too little is one too few
    const frames = this.stretcher.push(before, logMel, changeFrames);
    this.depth.adjust((frames.length - logMel.length) * this.frameS);
    return { frames, spliceS: 0 };
  }

  /** Record that so much sound was put in or, where negative, left out. */
  spliced(changeS: number): void {
    this.depth.adjust(changeS);
    this.splicedOutS += Math.max(0, -changeS);
    this.splicedInS += Math.max(0, changeS);
  }
}
