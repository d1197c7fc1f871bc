/** The speaking page's worker: microphone to log-mel to tiles to AVIF stills to a room. */

import type { Piece } from "./capture.js";
import { RATE_HZ, USUAL_MEL, USUAL_TILE } from "./config.js";
import type { StillTemplate } from "./container.js";
import { LogMelStream } from "./features.js";
import { makeTemplate } from "./frame_headers.js";
import { PictureReader } from "./pictures.js";
import { PictureWriter } from "./picture_writer.js";
import type { PublisherState } from "./protocol.js";
import { END_S, Publisher } from "./publisher.js";
import { RateMeter } from "./rate.js";
import { Resampler } from "./resample.js";
import { type PixelTile, TileCutter } from "./tiles.js";

export interface Speak {
  kind: "speak";
  url: string;
  /** The rooms to publish in: the first that no other stream is in. */
  rooms: string[];
  token: string;
  quality: number;
  /** The port of the microphone's pieces, and the rate of their samples. */
  microphone: MessagePort;
  rateHz: number;
  /** Report samples and stills, for tests. */
  isRecorded: boolean;
}

export type ToSpeaker = Speak | { kind: "stop" };

export type FromSpeaker =
  | { kind: "status"; state: PublisherState; detail: string; room: string }
  | { kind: "tile"; firstFrame: number; frames: number; width: number; pixels: Uint8Array }
  | { kind: "figures"; sentTiles: number; droppedTiles: number; kbps: number; roundTripMs: number | null; isMute: boolean }
  | { kind: "recorded"; samples: Float32Array }
  | { kind: "recordedTile"; firstFrame: number; still: Uint8Array; pixels: Uint8Array };

const FIGURES_S = 0.5;
const MAX_LAG_S = 0.5;
const MAX_GAP_S = 0.1;
const MUTE_S = 2;

const nowS = (): number => performance.now() / 1000;
const tell = (message: FromSpeaker, transfer: Transferable[] = []): void => self.postMessage(message, { transfer });

class Stream {
  private publisher: Publisher;
  private readonly template: StillTemplate;
  private readonly mel = new LogMelStream(USUAL_MEL);
  private readonly cutter = new TileCutter(USUAL_TILE);
  private readonly resampler: Resampler | null;
  private readonly timer: number;
  private samples = 0;
  private silentSamples = 0;
  private hasBegun = false;
  private isOver = false;
  private readonly rate = new RateMeter();

  constructor(
    private readonly speak: Speak,
    private readonly writer: PictureWriter,
    private readonly pictures: PictureReader,
  ) {
    const { n_mels: height } = USUAL_MEL;
    this.template = makeTemplate((pixels) => writer.write(pixels, USUAL_TILE.frames, height, speak.quality), USUAL_TILE.frames, height);
    this.resampler = speak.rateHz === RATE_HZ ? null : new Resampler(speak.rateHz / RATE_HZ);
    this.publisher = this.publish(speak.rooms);
    speak.microphone.onmessage = ({ data }: MessageEvent<Piece>) => this.hear(data);
    this.timer = self.setInterval(() => this.tellFigures(), FIGURES_S * 1000);
  }

  private publish([room, ...others]: string[]): Publisher {
    const session = Array.from(crypto.getRandomValues(new Uint8Array(16)), (x) => x.toString(16).padStart(2, "0")).join("");
    const settings = { mel: USUAL_MEL, tile: USUAL_TILE, template: this.template, session, live: true, report: false };
    return new Publisher(
      `${this.speak.url}/publish/${encodeURIComponent(room)}`,
      this.speak.token,
      { kind: "hello", ...settings, agent: "audio-avif-web" },
      (state, detail) => {
        if (state === "taken" && others.length) {
          this.publisher = this.publish(others);
          return;
        }
        this.hasBegun ||= state === "playing";
        tell({ kind: "status", state, detail, room });
        if (state === "failed" || state === "taken") this.close();
      },
      nowS,
    );
  }

  /** End the stream with a bye. */
  stop(): void {
    if (this.isOver) return;
    for (const tile of [...this.cutter.push(this.mel.flush()), ...this.cutter.flush()]) this.send(tile);
    this.publisher.end(this.samples);
    this.close();
  }

  private close(): void {
    this.isOver = true;
    clearInterval(this.timer);
    this.speak.microphone.onmessage = null;
  }

  private hear(piece: Piece): void {
    if (!this.hasBegun) return;
    const samples = this.resampler ? this.resampler.push(piece.samples) : piece.samples;
    this.samples += samples.length;
    const lagS = (Date.now() - piece.atMs) / 1000;
    const zeroS = nowS() - lagS - this.samples / RATE_HZ;
    const { publisher } = this;
    const hasStoodStill = zeroS > publisher.sampleZeroS + MAX_GAP_S; // the device left samples out
    publisher.sampleZeroS = hasStoodStill ? zeroS : Math.min(publisher.sampleZeroS, zeroS);
    this.silentSamples = samples.every((x) => x === 0) ? this.silentSamples + samples.length : 0;
    if (this.speak.isRecorded) tell({ kind: "recorded", samples: samples.slice() });
    const isLate = lagS > MAX_LAG_S;
    for (const tile of this.cutter.push(this.mel.push(samples))) {
      if (isLate) publisher.droppedTiles++;
      else this.send(tile);
    }
  }

  private send({ firstFrame, frames, pixels }: PixelTile): void {
    const [width, height] = [USUAL_TILE.frames, USUAL_MEL.n_mels];
    if (!this.publisher.isReady) {
      this.publisher.droppedTiles++;
      return;
    }
    const still = this.writer.write(pixels, width, height, this.speak.quality);
    const body = this.template.strip(still);
    const isShort = body && frames === width;
    const { header, payload } = isShort ? this.template.shorten(body) : { header: null, payload: body ?? still };
    this.publisher.send({ firstFrame, frames, payload, isWholeStill: !body, header });
    this.rate.push(payload.length, nowS());
    if (this.speak.isRecorded) tell({ kind: "recordedTile", firstFrame, still, pixels });
    void this.show(still, firstFrame, frames);
  }

  /** Shows the tiles as listeners get them. */
  private async show(still: Uint8Array, firstFrame: number, frames: number): Promise<void> {
    const pixels = await this.pictures.read(still.slice(), USUAL_TILE.frames, USUAL_MEL.n_mels);
    tell({ kind: "tile", firstFrame, frames, width: USUAL_TILE.frames, pixels }, [pixels.buffer]);
  }

  private tellFigures(): void {
    const now = nowS();
    const { sentTiles, droppedTiles, roundTripS } = this.publisher;
    tell({
      kind: "figures",
      sentTiles,
      droppedTiles,
      kbps: this.rate.kbps(now),
      roundTripMs: roundTripS === null ? null : roundTripS * 1000,
      isMute: this.silentSamples > MUTE_S * RATE_HZ,
    });
  }
}

let wanted: Speak | null = null;
let stream: Stream | null = null;
let writer: PictureWriter | null = null;

async function start(speak: Speak): Promise<void> {
  wanted = speak;
  tell({ kind: "status", state: "trying", detail: "", room: "" });
  try {
    writer ??= await PictureWriter.load();
    const pictures = new PictureReader();
    if (wanted === speak) stream = new Stream(speak, writer, pictures);
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
    tell({ kind: "status", state: "failed", detail: `The AVIF encoder did not load (${why}).`, room: "" });
  }
}

self.onmessage = ({ data }: MessageEvent<ToSpeaker>) => {
  if (data.kind === "speak") void start(data);
  else {
    wanted = null;
    stream?.stop();
    self.setTimeout(() => self.close(), (END_S + 1) * 1000);
  }
};
