/** The depth of the playout buffer, and the changes that keep it. As `audio_avif/codec/playout.py`. */

import type { Frame } from "./features.js";
import { ArrivalWatch, DepthWatch, median, recentS } from "./jitter.js";
import { roundHalfToEven } from "./rounding.js";
import { FrameStretcher } from "./time_scaling.js";

const CATCH_UP_S = 0.3; // at 15 % faster, this surplus is gone in two seconds; a larger one is skipped
const KNOWN_S = 0.5;
const MAX_SEEN = 512;
const OF_LATE = 9;
const TOLERANCE_FRAMES = 0.75;
const TOLERANCE_BELOW_FRAMES = 0.375;
const TOLERANCE_IN_SPEECH_FRAMES = 1.25;
const TOLERANCE_OF_SPLICING_FRAMES = 0.2;
const MARGIN_FRAMES = 0.5; // for a tile that is later than all before
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

/** How much sound must be waiting because this machine is not punctual. */
export interface Unsteadiness {
  /** What makes concealment safe whenever it begins. */
  aloneS: number;
  /** What any tile needed beyond the lateness of the latest one. */
  beyondLatestS: number;
}

/** Finds how unpunctual this machine is, from the tiles of the last `recentS`. */
export class Steadiness {
  /** The greatest of what a tile needed for each cause, and the greatest sum of one tile. Null in the first half second. */
  unsteady: Unsteadiness | null = null;
  private seen: { nowS: number; dryS: number; usualDryS: number; delayS: number; latenessS: number }[] = [];
  private beganS: number | null = null;

  /** Forget what was before a silence; the value stays until half a second is known again. */
  reset(): void {
    this.seen = [];
    this.beganS = null;
  }

  /**
   * Record a tile that came `latenessS` later than the earliest, and whose sound was made `delayS` after it; of `writtenS`
   * in all, `bufferedS` were waiting.
   */
  push(nowS: number, writtenS: number, bufferedS: number, delayS: number, latenessS: number): void {
    this.beganS ??= nowS;
    const earliestS = nowS - recentS(nowS - this.beganS);
    const dryS = nowS + bufferedS - writtenS;
    const usualDryS = median([...this.seen.slice(1 - OF_LATE).map((each) => each.dryS), dryS]);
    this.seen.push({ nowS, dryS, usualDryS, delayS, latenessS });
    this.seen = this.seen.filter((each) => each.nowS >= earliestS).slice(-MAX_SEEN);
    const unsteady = this.judge();
    const isKnown = nowS - this.beganS >= KNOWN_S;
    if (isKnown || (this.unsteady !== null && unsteady.aloneS > this.unsteady.aloneS)) this.unsteady = unsteady;
  }

  private judge(): Unsteadiness {
    const usualDryS = this.seen.at(-1)!.usualDryS;
    const usualDelayS = median(this.seen.map((each) => each.delayS));
    // The sooner of what was usual then and what is usual now: an output that begins to play later adds nothing.
    const soonerS = this.seen.map((each) => Math.max(0, Math.min(usualDryS, each.usualDryS) - each.dryS));
    const extraS = this.seen.map((each) => each.delayS - usualDelayS);
    const latenessS = this.seen.map((each) => each.latenessS);
    const sumsS = latenessS.map((late, i) => late + soonerS[i] + extraS[i]);
    return {
      aloneS: RESERVE_S + Math.max(...soonerS) + Math.max(...extraS),
      beyondLatestS: RESERVE_S + Math.max(...sumsS) - Math.max(...latenessS),
    };
  }
}

/** Keeps the playout buffer as deep as the arrivals require. */
export class Pacer {
  /** Processing time of a tile on this machine; the caller of the decoder measures and sets it. */
  processingS = 0;
  /** How unpunctual this machine is; the caller measures and sets it. */
  unsteady: Unsteadiness;
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
    this.unsteady = { aloneS: config.concealAtS, beyondLatestS: config.concealAtS };
    this.arrivals = new ArrivalWatch(frameS);
    this.depth = new DepthWatch(tileS);
  }

  /** How much sound to hold ready: what the latest tile needs, but no more than makes 95 of 100 safe; and for copies. */
  get targetS(): number {
    const { minS, maxS, concealAtS } = this.config;
    const usualS = Math.min(this.arrivals.latenessS, maxS) + concealAtS + this.frameS;
    const beyondS = Math.min(this.unsteady.beyondLatestS, concealAtS) + MARGIN_FRAMES * this.frameS;
    const latestS = this.arrivals.latestS + beyondS;
    const jitterS = Math.max(minS, Math.min(usualS, latestS));
    return jitterS + Math.min(this.copies * this.tileS, maxS);
  }

  /** How much sound should be waiting when a tile arrives on time. */
  get depthS(): number {
    return this.targetS + this.processingS;
  }

  /** With less sound than this, concealment must be made, or it comes too late; never before the latest tile. */
  get urgentS(): number {
    const forLatestS = this.unsteady.beyondLatestS + MARGIN_FRAMES * this.frameS;
    return Math.min(this.config.concealAtS, this.unsteady.aloneS, forLatestS) + this.processingS;
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

  /** How late a tile is at that time, compared with the earliest. */
  latenessS(firstFrame: number, atS: number): number {
    return atS - firstFrame * this.frameS - this.arrivals.baseS;
  }

  /** How much sound should be waiting now that a tile which begins at `firstFrame` is opened. */
  dueS(firstFrame: number, nowS: number): number {
    return this.depthS - this.latenessS(firstFrame, nowS);
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
