/**
 * Opened tiles to samples, without any I/O. As `audio_avif/codec/decoder.py`, which is the reference; the shared vectors
 * in `tests/data/decoder` hold both to the same decisions. Here every stream is live: a relay passes on no others.
 */

import * as concealment from "./concealment.js";
import { Background } from "./background.js";
import { type MelConfig, type TileConfig, frameS } from "./config.js";
import type { Frame } from "./features.js";
import { type Packet, type Picture, type TileCounts, TileQueue } from "./jitter.js";
import { BROWSER_PLAYOUT, Pacer } from "./playout.js";
import { type Chunk, StreamPosition } from "./position.js";
import { roundHalfToEven } from "./rounding.js";
import { SampleSplicer } from "./time_scaling.js";

const MAX_INTERPOLATED_FRAMES = 32; // half a second; in longer gaps it would sound like a held tone
const MAX_FILL_FRAMES = 128; // limit for gaps that a hostile peer claims
const FADE_LOG10_PER_S = 10;
const SPARE = 1.5; // length of a piece of concealment relative to the processing time of a tile

/** A vocoder with state: log-mel frames to samples. */
export interface VocoderStream {
  latencySamples: number;
  push(logMel: Frame[]): Promise<Float32Array>;
  flush(): Promise<Float32Array>;
}

/**
 * The next frames for the vocoder, to be played after `silenceS` of silence; `tile` is null for noise and concealment.
 * `spliceS` of sound should be put into their samples, left out where negative.
 */
export interface Speech {
  logMel: Frame[];
  tile: Picture | null;
  silenceS: number;
  isQuiet: boolean;
  spliceS: number;
}

type Paced = Pick<Speech, "logMel" | "silenceS" | "spliceS">;

/**
 * Packets to samples: order, concealment, pace, vocoder.
 *
 * Call `push` for each packet, then `nextFrames` and `speak` until `nextFrames` returns null, and `end`, the same again
 * and `flush` at the end. Ask again when the sound that waits to be played falls to `urgentS`. Times are seconds of one
 * clock that may start anywhere.
 */
export class Decoder {
  readonly pacer: Pacer;
  readonly background: Background;
  private readonly frameS: number;
  private readonly tileS: number;
  private readonly tiles = new TileQueue();
  private readonly position: StreamPosition;
  private lastFrame: Frame;
  /** The stream's frame after the last tile; null before the first tile. */
  private nextFrame: number | null = null;
  /** Concealed frames since that tile. */
  private bridgedFrames = 0;
  /** Concealed frames since the last packet of any kind. */
  private unheardOfFrames = 0;
  private isSilent = true;
  private wasSkipped = false;
  private isEnding = false;
  private readonly splicer = new SampleSplicer();
  /** Quiet samples that the vocoder took in a row. */
  private quietSamples = 0;

  constructor(
    private readonly mel: MelConfig,
    private readonly tile: TileConfig,
    private readonly vocoder: VocoderStream,
    playout = BROWSER_PLAYOUT,
  ) {
    this.frameS = frameS(mel);
    this.tileS = tile.frames * this.frameS;
    this.pacer = new Pacer(playout, this.tileS, this.frameS);
    this.background = new Background(mel, tile);
    this.position = new StreamPosition(mel.hop_samples);
    this.lastFrame = new Float32Array(mel.n_mels).fill(tile.log10_min);
  }

  /** Counts of the tiles. */
  get counts(): TileCounts {
    return this.tiles.counts;
  }

  /** With less sound than this in the buffer, concealment or a pause's noise must be made. */
  get urgentS(): number {
    const { depthS, urgentS } = this.pacer;
    return this.background.pause && this.cutOffS <= 0 ? Math.max(depthS - this.frameS / 2, urgentS) : urgentS;
  }

  /** Whether no sound is made before the next packet, even if the buffer is empty. */
  get isWaiting(): boolean {
    return this.isEnding || (this.isSilent && !this.background.pause);
  }

  /** Seconds without packets beyond the time that is concealed in full, which a pause extends by a tile. */
  private get cutOffS(): number {
    const expectedS = this.background.pause ? this.tileS : 0;
    return this.unheardOfFrames * this.frameS - this.pacer.config.maxConcealS - expectedS;
  }

  /** Whether a copy of this tile is needed. */
  needs(sequence: number): boolean {
    return this.tiles.needs(sequence);
  }

  /** Take a packet that arrived at `nowS`, those of its copies that are needed, and how many copies it had. */
  push(packet: Packet, copies: Picture[], copyCount: number, nowS: number): void {
    if (this.isSilent && !this.tiles.size) this.pacer.forgetArrivals();
    this.pacer.push(packet.firstFrame, copyCount, nowS);
    this.unheardOfFrames = 0;
    this.tiles.push(packet, copies);
  }

  /** The next frames for the vocoder, given the seconds of sound in the buffer; null to wait for more packets. */
  nextFrames(waitingS: number, nowS: number): Speech | null {
    const bufferedS = waitingS - this.unfilledS();
    if (!this.isEnding && this.tiles.keepNewest(this.pacer.roomTiles(bufferedS))) this.wasSkipped = true;
    for (let packet; (packet = this.nextPacket(bufferedS)); ) {
      if (this.nextFrame === null) {
        this.nextFrame = packet.firstFrame; // a listener may join in the middle of a stream
        this.position.leaveOut(packet.firstFrame);
      }
      if (packet.firstFrame < this.nextFrame) this.counts.damaged++;
      else if (packet.kind === "pause") {
        this.background.pause = packet;
        const speech = this.isEnding ? this.speakPause() : null;
        if (speech) return speech;
      } else if (packet.logMel) return this.join(packet, packet.logMel, bufferedS, nowS);
      else this.counts.damaged++;
    }
    if (!this.isEnding && bufferedS <= this.urgentS && !this.tiles.size) return this.bridge();
    return this.isEnding ? this.speakPause() : null;
  }

  /** The next packet in order, once the missing ones before it have been waited for. */
  private nextPacket(bufferedS: number): Packet | null {
    const packet = this.tiles.pop();
    if (packet) return packet;
    const hasWaited = bufferedS <= this.urgentS || this.isEnding;
    return hasWaited && this.tiles.giveUpMissing() ? this.tiles.pop() : null;
  }

  /** The part of the silence at the start that the vocoder's delay accounts for. */
  private unfilledS(): number {
    if (!this.position.pushedSamples) return 0;
    return Math.max(0, this.vocoder.latencySamples - this.position.heldSamples) / this.mel.rate_hz;
  }

  /** Frames of the stream between the last one spoken and this frame. */
  private gapBefore(firstFrame: number): number {
    return firstFrame - (this.nextFrame ?? 0) - this.bridgedFrames;
  }

  /** All frames before this one are spoken or left out. */
  private wentOnTo(nextFrame: number): void {
    this.nextFrame = nextFrame;
    this.bridgedFrames = 0;
    this.isSilent = false;
  }

  /** Put a tile's frames after the last ones spoken: fill a gap, keep the depth of the buffer. */
  private join(tile: Picture, logMel: Frame[], bufferedS: number, nowS: number): Speech {
    const gap = this.gapBefore(tile.firstFrame);
    const dueS = this.pacer.dueS(tile.firstFrame, nowS);
    const isQuiet = this.background.isQuiet(logMel);
    const speech = this.isSilent
      ? this.afterSilence(logMel, dueS)
      : this.afterSound(logMel, gap, dueS, bufferedS, isQuiet);
    this.position.leaveOut(gap + logMel.length - speech.logMel.length);
    this.background.push(logMel);
    this.wentOnTo(tile.firstFrame + tile.frames);
    this.wasSkipped = false;
    return { ...speech, tile, isQuiet };
  }

  /** The frames of the first tile after silence, and the remaining silence before them. */
  private afterSilence(logMel: Frame[], dueS: number): Paced {
    this.pacer.forgetDepths();
    const silenceS = Math.max(0, dueS);
    const spliceS = 0;
    if (this.position.pushedSamples) return { logMel: concealment.fadeIn(logMel, this.frameS), silenceS, spliceS };
    return { logMel, silenceS: silenceS + this.vocoder.latencySamples / this.mel.rate_hz, spliceS };
  }

  /** The frames that fill the gap before a tile, and its own, as many as the pace asks for. */
  private afterSound(logMel: Frame[], gap: number, dueS: number, bufferedS: number, isQuiet: boolean): Paced {
    const needed = roundHalfToEven((dueS - bufferedS) / this.frameS);
    const fill = this.fill(gap, logMel[0], needed);
    if (this.isEnding) return { logMel: [...fill, ...logMel], silenceS: 0, spliceS: 0 };
    const rest = logMel.slice(this.replacedByNoise(logMel, Math.min(-gap, -needed)));
    if (gap || this.wasSkipped) this.pacer.forgetDepths();
    const surplusS = bufferedS + (fill.length + rest.length - logMel.length) * this.frameS - dueS;
    const { frames, spliceS } = this.pacer.pushFrames(this.lastFrame, rest, surplusS, isQuiet);
    return { logMel: [...fill, ...frames], silenceS: 0, spliceS };
  }

  /** Frames for a gap before a tile: a short gap is filled, a longer one as far as the buffer needs. */
  private fill(gap: number, after: Frame, needed: number): Frame[] {
    const { pause } = this.background;
    if (!pause && gap > 0 && gap <= MAX_INTERPOLATED_FRAMES && !this.wasSkipped) {
      return this.background.interpolate(this.lastFrame, after, gap);
    }
    const wanted = this.isEnding ? (pause ? gap : 0) : needed;
    const frames = Math.max(0, Math.min(gap, wanted, MAX_FILL_FRAMES));
    return frames ? this.background.frames(frames) : [];
  }

  /** How many of a tile's first frames, `most` at most, are no louder than the pause's noise spoken for them. */
  private replacedByNoise(logMel: Frame[], most: number): number {
    if (!this.background.pause) return 0;
    for (let count = Math.min(most, logMel.length - 1); count > 0; count--) {
      if (this.background.isQuiet(logMel.slice(0, count))) return count;
    }
    return 0;
  }

  /** A piece of background into which the last sound decays, while no packets come; later silence. */
  private bridge(): Speech | null {
    if (this.isWaiting) return null;
    const cutOffS = this.cutOffS;
    if (cutOffS >= this.pacer.config.fadeS) {
      this.isSilent = true;
      this.background.pause = null;
      return null;
    }
    let frames = this.background.frames(this.pieceFrames());
    if (cutOffS > 0) {
      frames = frames.map((frame) => frame.map((x) => Math.max(x - cutOffS * FADE_LOG10_PER_S, this.tile.log10_min)));
    }
    this.isSilent = false;
    this.bridgedFrames += frames.length;
    this.unheardOfFrames += frames.length;
    return { logMel: frames, tile: null, silenceS: 0, isQuiet: this.background.pause !== null, spliceS: 0 };
  }

  /** Frames of concealment at once: few, but with a slow vocoder enough for its sound to stay ahead. */
  private pieceFrames(): number {
    const sustained = Math.ceil((SPARE * this.pacer.processingS) / this.frameS);
    return Math.max(1, Math.min(sustained, this.tile.frames));
  }

  /** The rest of the pause at the end of a stream. */
  private speakPause(): Speech | null {
    const { pause } = this.background;
    if (!pause) return null;
    const endFrame = pause.firstFrame + pause.frames;
    const frames = this.gapBefore(endFrame);
    const spoken = Math.min(frames, MAX_FILL_FRAMES);
    if (spoken <= 0) return null;
    const noise = this.background.frames(spoken);
    this.position.leaveOut(frames - spoken);
    this.wentOnTo(endFrame);
    return { logMel: noise, tile: null, silenceS: 0, isQuiet: true, spliceS: 0 };
  }

  /** Run the vocoder on the frames; return the samples that are now final. */
  async speak(speech: Speech): Promise<Chunk> {
    this.lastFrame = speech.logMel[speech.logMel.length - 1];
    this.position.push(speech.logMel.length);
    this.quietSamples = speech.isQuiet ? this.quietSamples + speech.logMel.length * this.mel.hop_samples : 0;
    const isQuiet = this.quietSamples >= this.position.heldSamples;
    const chunk = this.position.emit(await this.vocoder.push(speech.logMel));
    const wanted = roundHalfToEven(speech.spliceS * this.mel.rate_hz);
    const samples = this.splicer.push(chunk.samples, wanted, isQuiet);
    this.pacer.spliced((samples.length - chunk.samples.length) / this.mel.rate_hz);
    return { ...chunk, samples };
  }

  /** No more packets will come; without a bye the stream was cut off. Call `nextFrames` for the rest. */
  end(bye: { tiles: number; samples: number } | null): void {
    this.isEnding = true;
    if (bye) {
      this.tiles.end(bye.tiles);
      this.position.endAt(bye.samples);
    }
  }

  /** The vocoder's last samples; a stream with a bye ends exactly at its last sample. */
  async flush(): Promise<Chunk> {
    return this.position.emit(await this.vocoder.flush());
  }
}
