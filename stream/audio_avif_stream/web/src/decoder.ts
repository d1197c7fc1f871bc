/**
 * Opened tiles to samples: order, concealment, pace, vocoder. As the Decoder of `audio_avif/codec/decoder.py`, which is the
 * reference; here every stream is played against the clock. No I/O, no clock: times are seconds passed in.
 */

import * as concealment from "./concealment.js";
import { type MelConfig, type TileConfig, frameS } from "./config.js";
import type { Frame } from "./features.js";
import { ArrivalWatch, DepthWatch, type Packet, type Picture, type Quiet, TileQueue } from "./jitter.js";
import { FloorTracker, NoiseSource } from "./noise.js";

/** What turns log-mel frames into samples and remembers its past. */
export interface VocoderStream {
  latencySamples: number;
  push(logMel: Frame[]): Promise<Float32Array>;
  flush(): Promise<Float32Array>;
}

/** Frames to be spoken next, `silenceS` after their tile arrived; `tile` is null for noise and concealment. */
export interface Speech {
  logMel: Frame[];
  tile: Picture | null;
  silenceS: number;
}

/** Samples to be played next, and the stream position of the first. */
export interface Chunk {
  samples: Float32Array;
  firstSample: number;
}

/** As Python's PlayoutConfig; a browser's worker is woken later than a thread, so a little more is held ready. */
const PLAYOUT = { mostS: 1, concealAtS: 0.035, maxConcealS: 1, fadeS: 0.5 };
export const LEAST_BUFFER_S = 0.06;

const MAX_INTERPOLATED_FRAMES = 32;
const MAX_FILL_FRAMES = 128;
const CATCH_UP_S = 0.3;
const FADE_LOG10_PER_S = 10;
const PAUSE_FRAMES = 2;
const QUIET_LOG10 = 0.5;
const TOLERANCE_FRAMES = 0.75;
const TOLERANCE_IN_SPEECH_FRAMES = 2;

export class Decoder {
  concealedFrames = 0;
  /** How long this machine takes for a tile, now and then excepted; whoever drives the decoder measures it. */
  processingS = 0;

  private readonly frameS: number;
  private readonly tileS: number;
  private readonly tiles = new TileQueue();
  private readonly arrivals: ArrivalWatch;
  private readonly depth: DepthWatch;
  private readonly stretcher = new concealment.FrameStretcher();
  private readonly floor: FloorTracker;
  private readonly noise: NoiseSource;
  private pause: Quiet | null = null;
  private copies = 0;
  private hasBegun = false;
  private isSilent = true;
  private wasSkipped = false;
  private lastFrame: Frame;
  private fadingFrame: Frame;
  private nextFrame = 0;
  private bridgedFrames = 0;
  private unheardOfFrames = 0;
  private pushedSamples = 0;
  private emittedSamples = 0;
  private jumps: { at: number; samples: number }[] = [];
  private leftOutSamples = 0;
  private isEnding = false;
  private end_: number | null = null;

  constructor(
    private readonly mel: MelConfig,
    private readonly tile: TileConfig,
    private readonly vocoder: VocoderStream,
    private readonly leastS = LEAST_BUFFER_S,
  ) {
    this.frameS = frameS(mel);
    this.tileS = tile.frames * this.frameS;
    this.arrivals = new ArrivalWatch(this.frameS);
    this.depth = new DepthWatch(this.tileS);
    this.floor = new FloorTracker(mel);
    this.noise = new NoiseSource(mel);
    this.lastFrame = this.fadingFrame = new Float32Array(mel.n_mels).fill(tile.log10_min);
  }

  get counts() {
    return this.tiles.counts;
  }

  /** How much sound is to be held ready: `leastS`, or what 95 of 100 tiles need, and until copies have come. */
  get targetS(): number {
    const marginS = Math.min(this.leastS, PLAYOUT.concealAtS + this.frameS);
    const jitterS = Math.max(this.leastS, Math.min(this.arrivals.latenessS, PLAYOUT.mostS) + marginS);
    return jitterS + Math.min(this.copies * this.tileS, PLAYOUT.mostS);
  }

  /** With less sound than this waiting to be played, some must be made up. */
  get urgentS(): number {
    if (this.pause && this.cutOffS <= 0) {
      return Math.max(this.depthS - this.frameS, PLAYOUT.concealAtS / 2 + this.processingS);
    }
    return PLAYOUT.concealAtS + this.processingS;
  }

  /** Whether nothing will be said before a packet comes, however little sound is left. */
  get isWaiting(): boolean {
    return this.isEnding || (this.isSilent && !this.pause);
  }

  private get depthS(): number {
    return this.targetS + this.processingS;
  }

  private get cutOffS(): number {
    return this.unheardOfFrames * this.frameS - PLAYOUT.maxConcealS - (this.pause ? this.tileS : 0);
  }

  /** Whether a copy of this tile would be of use. */
  needs(sequence: number): boolean {
    return this.tiles.needs(sequence);
  }

  /** Take a packet that arrived at `nowS`, and the copies that came with it. */
  push(packet: Packet, copies: Picture[], copyCount: number, nowS: number): void {
    if (this.isSilent && !this.tiles.size) this.arrivals.reset();
    this.arrivals.push(packet.firstFrame, nowS);
    this.copies = Math.max(this.copies, copyCount);
    this.unheardOfFrames = 0;
    this.tiles.push(packet, copies);
  }

  /** What to speak next, given how much sound is waiting to be played; null to wait for more packets. */
  nextFrames(bufferedS: number, nowS: number): Speech | null {
    bufferedS -= this.unfilledS();
    if (!this.isEnding) this.skipBacklog(bufferedS);
    for (let packet; (packet = this.nextPacket(bufferedS)); ) {
      if (!this.hasBegun) this.begin(packet.firstFrame);
      if (packet.firstFrame < this.nextFrame) this.counts.damaged++;
      else if (packet.kind === "pause") {
        this.pause = packet;
        const speech = this.isEnding ? this.speakPause() : null;
        if (speech) return speech;
      } else if (packet.logMel) return this.join(packet, packet.logMel, bufferedS, nowS);
      else this.counts.damaged++;
    }
    if (!this.isEnding && bufferedS <= this.urgentS && !this.tiles.size) return this.bridge();
    return this.isEnding ? this.speakPause() : null;
  }

  private nextPacket(bufferedS: number): Packet | null {
    const packet = this.tiles.pop();
    if (packet) return packet;
    const hasWaited = bufferedS <= this.urgentS || this.isEnding;
    return hasWaited && this.tiles.giveUpMissing() ? this.tiles.pop() : null;
  }

  private begin(firstFrame: number): void {
    this.hasBegun = true;
    this.nextFrame = firstFrame;
    this.jumps.push({ at: 0, samples: firstFrame * this.mel.hop_samples });
  }

  /** How much of the silence at the start stands for frames that the vocoder has yet to take in. */
  private unfilledS(): number {
    const held = this.pushedSamples - this.emittedSamples;
    return this.pushedSamples ? Math.max(0, this.vocoder.latencySamples - held) / this.mel.rate_hz : 0;
  }

  /** Drop the tiles for which the buffer, with what can be caught up with soon, has no room. */
  private skipBacklog(bufferedS: number): void {
    const roomS = this.depthS + this.tileS + Math.max(this.tileS, CATCH_UP_S) - bufferedS;
    if (this.tiles.keepNewest(Math.max(0, Math.floor(roomS / this.tileS)))) this.wasSkipped = true;
  }

  /** Put a tile's frames after the last ones spoken: fill a gap, keep the depth of the buffer. */
  private join(tile: Picture, logMel: Frame[], bufferedS: number, nowS: number): Speech {
    const gap = tile.firstFrame - this.nextFrame - this.bridgedFrames;
    const dueS = this.depthS - (nowS - tile.firstFrame * this.frameS - this.arrivals.baseS);
    let frames = logMel;
    let silenceS = 0;
    if (this.isSilent) {
      this.depth.reset();
      silenceS = Math.max(0, dueS);
      if (this.pushedSamples) frames = concealment.fadeIn(logMel, this.frameS);
      else silenceS += this.vocoder.latencySamples / this.mel.rate_hz;
    } else {
      const fill = this.fill(gap, logMel[0], Math.round((dueS - bufferedS) / this.frameS));
      if (!this.isEnding) {
        if (gap || this.wasSkipped) this.depth.reset();
        frames = this.paced(logMel, bufferedS + fill.length * this.frameS - dueS);
      }
      frames = [...fill, ...frames];
    }
    this.leaveOut(gap + logMel.length - frames.length);
    this.nextFrame = tile.firstFrame + tile.frames;
    this.bridgedFrames = 0;
    this.fadingFrame = logMel[logMel.length - 1];
    this.floor.push(logMel);
    this.pause = null;
    this.isSilent = this.wasSkipped = false;
    return { logMel: frames, tile, silenceS };
  }

  /** Frames for a gap before a tile: a short one is interpolated, of longer ones what the buffer needs is noise. */
  private fill(gap: number, after: Frame, needed: number): Frame[] {
    if (!this.pause && gap > 0 && gap <= MAX_INTERPOLATED_FRAMES && !this.wasSkipped) {
      this.concealedFrames += gap;
      return concealment.interpolate(this.lastFrame, after, gap);
    }
    const wanted = this.isEnding ? (this.pause ? gap : 0) : needed;
    return this.background(Math.max(0, Math.min(gap, wanted, MAX_FILL_FRAMES)));
  }

  /** Make a tile shorter or longer where the buffer is too deep or shallow, in pauses sooner than in speech. */
  private paced(logMel: Frame[], surplusS: number): Frame[] {
    surplusS = this.depth.push(surplusS + this.depthS) - this.depthS;
    const mean = (frame: Frame): number => frame.reduce((sum, x) => sum + x, 0) / frame.length;
    const isPause = Math.max(...logMel.map(mean)) < mean(this.floor.floor) + QUIET_LOG10;
    const tolerance = isPause || surplusS < 0 ? TOLERANCE_FRAMES : TOLERANCE_IN_SPEECH_FRAMES;
    if (Math.abs(surplusS) < tolerance * this.frameS) return logMel;
    const paced = this.stretcher.push(this.lastFrame, logMel, -Math.round(surplusS / this.frameS));
    this.depth.adjust((paced.length - logMel.length) * this.frameS);
    return paced;
  }

  /** A bit of background, over which the last sound decays, while nothing comes; silence after long. */
  private bridge(): Speech | null {
    if (this.isWaiting) return null;
    const cutOffS = this.cutOffS;
    if (cutOffS >= PLAYOUT.fadeS) {
      this.isSilent = true;
      this.pause = null;
      return null;
    }
    let frames = this.background(this.pause ? PAUSE_FRAMES : 1);
    if (cutOffS > 0) {
      frames = frames.map((frame) => frame.map((x) => Math.max(x - cutOffS * FADE_LOG10_PER_S, this.tile.log10_min)));
    }
    this.isSilent = false;
    this.bridgedFrames += frames.length;
    this.unheardOfFrames += frames.length;
    return { logMel: frames, tile: null, silenceS: 0 };
  }

  /** Noise as the pause's or as heard so far, over it what is left of the last sound. */
  private background(count: number): Frame[] {
    if (!count) return [];
    if (!this.pause) this.concealedFrames += count;
    const floor = this.pause?.envelope ?? this.floor.floor;
    const fading = concealment.decay(this.fadingFrame, floor, count, this.frameS);
    this.fadingFrame = fading[count - 1];
    const frames = concealment.overNoise(fading, floor, this.noise.frames(floor, count));
    return frames.map((frame) => frame.map((x) => Math.max(x, this.tile.log10_min)));
  }

  /** All of the pause that is known, at the end of a stream. */
  private speakPause(): Speech | null {
    if (!this.pause) return null;
    const end = this.pause.firstFrame + this.pause.frames;
    const frames = end - this.nextFrame - this.bridgedFrames;
    const spoken = Math.min(frames, MAX_FILL_FRAMES);
    if (spoken <= 0) return null;
    const noise = this.background(spoken);
    this.leaveOut(frames - spoken);
    this.nextFrame = end;
    this.bridgedFrames = 0;
    this.isSilent = false;
    return { logMel: noise, tile: null, silenceS: 0 };
  }

  private leaveOut(frames: number): void {
    if (frames) this.jumps.push({ at: this.pushedSamples, samples: frames * this.mel.hop_samples });
  }

  /** Run the vocoder on the frames; return the samples that are now final. */
  async speak(speech: Speech): Promise<Chunk> {
    this.lastFrame = speech.logMel[speech.logMel.length - 1];
    this.pushedSamples += speech.logMel.length * this.mel.hop_samples;
    return this.cut(await this.vocoder.push(speech.logMel));
  }

  /** No more packets will come; without a bye the stream broke off. What is here is still to be asked for. */
  end(bye: { tiles: number; samples: number } | null): void {
    this.isEnding = true;
    if (bye) {
      this.tiles.end(bye.tiles);
      this.end_ = bye.samples;
    }
  }

  /** The vocoder's last samples. */
  async flush(): Promise<Chunk> {
    return this.cut(this.pushedSamples ? await this.vocoder.flush() : new Float32Array(0));
  }

  private cut(samples: Float32Array): Chunk {
    const firstSample = Math.max(0, this.position());
    this.emittedSamples += samples.length;
    if (this.end_ !== null) {
      samples = samples.subarray(0, samples.length - Math.min(samples.length, Math.max(0, this.position() - this.end_)));
    }
    return { samples, firstSample };
  }

  /** Stream position of the vocoder's next sample, which may lie before a jump that its input has passed. */
  private position(): number {
    while (this.jumps.length && this.jumps[0].at <= this.emittedSamples) this.leftOutSamples += this.jumps.shift()!.samples;
    return this.emittedSamples + this.leftOutSamples;
  }
}
