/** The listening page's worker: receives a room's messages, decodes and plays them, and reports to the page. */

import { USUAL_MEL, frameS, isUsual } from "./config.js";
import { Connection } from "./connection.js";
import { Decoder, type Speech } from "./decoder.js";
import { TileError } from "./errors.js";
import { Inbox } from "./inbox.js";
import { type Picture, TileCounts, TileQueue, median } from "./jitter.js";
import { NoiseSource, fromPixel, noiseEnvelope } from "./noise.js";
import { PictureReader } from "./pictures.js";
import { BROWSER_PLAYOUT, Steadiness } from "./playout.js";
import { TargetWatch } from "./target.js";
import type { Figures, FromWorker, Open, State, ToWorker } from "./protocol.js";
import { RateMeter } from "./rate.js";
import { Sink } from "./sink.js";
import { Vocoder } from "./vocoder.js";
import type { FromSender, Hello, Pause, Ping, Tile } from "./wire.js";

const FIGURES_S = 0.25;
const PROCESSING_TILES = 40;
const REORDER_TILES = 8;

const nowS = (): number => performance.now() / 1000;
const tell = (message: FromWorker, transfer: Transferable[] = []): void => self.postMessage(message, { transfer });

let deviceS = 0;
let room: Room | null = null;

/** The state of one stream, from its hello on. */
interface Stream {
  hello: Hello;
  decoder: Decoder | null;
  /** Counts tiles of a stream that is only watched. */
  queue: TileQueue;
  processingS: number[];
  steadiness: Steadiness;
}

/** A listener's time in one room. */
class Room {
  private readonly connection: Connection;
  private readonly sink: Sink | null;
  private readonly timer: number;
  private stream: Stream | null = null;
  /** The session whose end was played; a restarted relay may report that end again. */
  private endedSession: string | null = null;
  private clock: Ping | null = null;
  private readonly inbox = new Inbox();
  private isHandling = false;
  private isSpeaking = false;
  private isSlow = false;
  private spokenS = 0;
  private readonly rate = new RateMeter();
  private past = new TileCounts();
  private pastConcealedS = 0;
  private state: State = "trying";
  private readonly target = new TargetWatch();

  constructor(
    private readonly open: Open,
    private readonly pictures: PictureReader,
    private readonly vocoder: Vocoder | null,
  ) {
    this.sink = open.sound && vocoder ? new Sink(open.sound, nowS, () => void this.speak()) : null;
    this.connection = new Connection(
      `${open.url}/listen/${encodeURIComponent(open.room)}`,
      open.token,
      {
        onState: (state, detail) => this.tellState(state, detail),
        onMessage: (message, receivedS) => this.take(message, receivedS),
      },
      nowS,
    );
    this.timer = self.setInterval(() => this.tellFigures(), FIGURES_S * 1000);
  }

  close(): void {
    clearInterval(this.timer);
    this.connection.close();
    this.stream = null;
  }

  private tellState(state: State, detail = ""): void {
    if (this.state === "ended" && state === "waiting") return;
    if (this.state !== state || detail) tell({ kind: "status", state, detail });
    this.state = state;
  }

  private take(message: FromSender, receivedS: number): void {
    this.inbox.put(message, receivedS);
    if (!this.isHandling) void this.work();
  }

  /** Handles messages one after another, and makes sound when none is waiting. */
  private async work(): Promise<void> {
    this.isHandling = true;
    try {
      for (let next = this.inbox.take(); next; next = this.inbox.take()) await this.handle(next.message, next.receivedS);
    } catch (error) {
      this.fail(error);
    } finally {
      this.isHandling = false;
    }
    void this.speak();
  }

  private fail(error: unknown): void {
    this.close();
    this.tellState("failed", `Playing the stream failed: ${error instanceof Error ? error.message : String(error)}.`);
  }

  private async handle(message: FromSender, receivedS: number): Promise<void> {
    const { stream } = this;
    if (room !== this) return;
    if (message.kind === "hello") return this.begin(message);
    if (message.kind === "ping") this.clock = message;
    if (!stream || message.kind === "ping" || message.kind === "gap" || message.kind === "place") return;
    if (message.kind === "bye") {
      this.endedSession = stream.hello.session;
      await this.finish(message);
      this.tellState("ended");
      tell({ kind: "end" });
      return;
    }
    this.tellState("playing");
    const tile = message.kind === "bundle" ? message.tile : message;
    const copies = message.kind === "bundle" ? message.copies : [];
    const bytes = [tile, ...copies].reduce((sum, each) => sum + (each.kind === "tile" ? each.payload : each.levels).length, 0);
    this.rate.push(bytes, receivedS);
    const packet = tile.kind === "pause" ? this.openPause(stream.hello, tile) : await this.openTile(stream.hello, tile, receivedS);
    const queue = stream.decoder ?? stream.queue;
    const opened: Picture[] = [];
    for (const copy of copies) if (queue.needs(copy.sequence)) opened.push(await this.openTile(stream.hello, copy, receivedS));
    if (stream.decoder) stream.decoder.push(packet, opened, copies.length, receivedS);
    else {
      stream.queue.push(packet, opened);
      while (stream.queue.pop() || (stream.queue.size > REORDER_TILES && stream.queue.giveUpMissing()));
    }
  }

  private async begin(hello: Hello): Promise<void> {
    if (hello.session === this.endedSession) return this.finish(null);
    if (this.stream?.hello.session === hello.session) {
      this.stream.hello = hello; // reconnected: sequence numbers continue
      this.tellState("playing");
      return;
    }
    await this.finish(null);
    let decoder: Decoder | null = null;
    if (this.vocoder && this.sink) {
      if (isUsual(hello.mel)) {
        this.vocoder.reset();
        decoder = new Decoder(USUAL_MEL, hello.tile, this.vocoder, { ...BROWSER_PLAYOUT, minS: this.open.minBufferS });
        decoder.pacer.processingS = this.vocoder.costS(hello.tile.frames);
      } else tell({ kind: "caveat", detail: "The vocoder does not fit the stream's mel definition: the stream can be watched, not heard." });
    }
    const processingS = decoder ? [decoder.pacer.processingS] : [];
    this.stream = { hello, decoder, queue: new TileQueue(), processingS, steadiness: new Steadiness() };
    tell({ kind: "stream", mel: hello.mel, tile: hello.tile, agent: hello.agent });
    this.tellState("playing");
  }

  /** End the stream: make the sound of all that has arrived. */
  private async finish(bye: { tiles: number; samples: number } | null): Promise<void> {
    const { stream, sink } = this;
    if (!stream) return;
    if (stream.decoder && sink) {
      stream.decoder.end(bye);
      while (this.isSpeaking) await new Promise((resolve) => setTimeout(resolve, 1));
      await this.speak();
      this.play(await stream.decoder.flush());
      sink.rest();
    }
    const counts = (stream.decoder ?? stream.queue).counts;
    for (const key of Object.keys(this.past) as (keyof TileCounts)[]) this.past[key] += counts[key];
    this.pastConcealedS += (stream.decoder?.background.concealedFrames ?? 0) * frameS(stream.hello.mel);
    this.stream = null;
    this.clock = null;
  }

  private async openTile(hello: Hello, tile: Tile, receivedS: number): Promise<Picture> {
    const { sequence, firstFrame, frames } = tile;
    const still = tile.isWholeStill ? tile.payload.slice() : hello.template.rebuild(tile.payload, tile.header);
    const picture: Picture = { kind: "tile", sequence, firstFrame, frames, logMel: null, receivedS };
    const [width, height] = [hello.tile.frames, hello.mel.n_mels];
    try {
      const pixels = await this.pictures.read(still, width, height);
      picture.logMel = Array.from({ length: frames }, (_, t) =>
        Float32Array.from({ length: height }, (_, band) => fromPixel(pixels[(height - 1 - band) * width + t], hello.tile)),
      );
      if (this.open.isRecorded) tell({ kind: "recordedTile", sequence, still, pixels: pixels.slice() });
      tell({ kind: "tile", firstFrame, frames, width, pixels }, [pixels.buffer]);
    } catch (error) {
      if (!(error instanceof TileError)) throw error;
    }
    return picture;
  }

  private openPause(hello: Hello, { sequence, firstFrame, frames, levels }: Pause) {
    const { tile, mel } = hello;
    const envelope = noiseEnvelope(levels, mel.n_mels, tile);
    const scale = 255 / (tile.log10_max - tile.log10_min);
    tell({ kind: "pause", firstFrame, pixels: Uint8Array.from(envelope, (x) => Math.round((x - tile.log10_min) * scale)) });
    return { kind: "pause" as const, sequence, firstFrame, frames, envelope };
  }

  /** Make the sound that is due. */
  private async speak(): Promise<void> {
    const decoder = this.stream?.decoder;
    const sink = this.sink;
    if (this.isSpeaking || !decoder || !sink || !this.stream) return;
    this.isSpeaking = true;
    try {
      for (;;) {
        const startedS = nowS();
        const speech = decoder.nextFrames(sink.bufferedS, startedS);
        if (!speech) break;
        const chunk = await decoder.speak(speech);
        // The end of the previous stream may still be playing.
        if (speech.silenceS) {
          sink.silence(Math.max(0, speech.silenceS - (nowS() - startedS) - sink.bufferedS));
          this.stream.steadiness.reset();
        }
        this.measure(speech, decoder, sink);
        this.play(chunk);
      }
      if (decoder.isWaiting) sink.rest();
    } catch (error) {
      this.fail(error);
    } finally {
      this.isSpeaking = false;
    }
  }

  /**
   * Record a tile's processing time, with the wait for the worker, and what its sound finds waiting; 95 of 100 tiles take
   * no longer than `processingS`.
   */
  private measure({ tile, logMel }: Speech, decoder: Decoder, sink: Sink): void {
    const now = nowS();
    if (tile && logMel.length <= tile.frames && this.stream) {
      const tookS = now - Math.max(tile.receivedS, this.spokenS);
      this.stream.processingS = [...this.stream.processingS, tookS].slice(-PROCESSING_TILES);
      const sorted = [...this.stream.processingS].sort((a, b) => a - b);
      decoder.pacer.processingS = sorted[Math.floor((sorted.length - 1) * 0.95)];
      const latenessS = decoder.pacer.latenessS(tile.firstFrame, tile.receivedS);
      this.stream.steadiness.push(now, sink.writtenS, sink.bufferedS, tookS, latenessS);
      decoder.pacer.unsteady = this.stream.steadiness.unsteady ?? decoder.pacer.unsteady;
    }
    this.spokenS = now;
  }

  private play(chunk: { samples: Float32Array; firstSample: number }): void {
    this.sink?.write(chunk);
    if (this.open.isRecorded) tell({ kind: "recordedSamples", ...chunk });
  }

  private tellFigures(): void {
    const { stream, sink, clock } = this;
    const now = nowS();
    const counts = stream ? (stream.decoder ?? stream.queue).counts : new TileCounts();
    const frame = stream ? frameS(stream.hello.mel) : 0;
    const heardSample = stream && sink ? sink.heardSample : null;
    const costs = stream?.processingS ?? [];
    const isBehind = costs.length === PROCESSING_TILES && stream && median(costs) > stream.hello.tile.frames * frame;
    if (!this.isSlow && (isBehind || this.inbox.leftOutTiles)) {
      this.isSlow = true;
      tell({ kind: "caveat", detail: "This device is too slow for the stream: some of the sound is left out." });
    }
    const aheadS = this.connection.serverAheadS;
    let delayMs: number | null = null;
    if (stream && clock?.receiverAheadUs && aheadS !== null && heardSample !== null) {
      const zeroS = (clock.sampleZeroUs + clock.receiverAheadUs) / 1e6 - aheadS;
      delayMs = (now + deviceS - zeroS - heardSample / stream.hello.mel.rate_hz) * 1000;
    }
    const pacer = stream?.decoder?.pacer;
    const figures: Figures = {
      bufferMs: stream && sink ? sink.bufferedS * 1000 : null,
      targetMs: pacer ? pacer.targetS * 1000 : null,
      targetRaisedBy: pacer ? this.target.raisedBy(pacer.targetS, pacer.copies) : "",
      delayMs,
      receivedTiles: this.past.received + counts.received,
      lostTiles: this.past.lost + counts.lost,
      leftOutTiles: this.inbox.leftOutTiles,
      concealedMs: (this.pastConcealedS + (stream?.decoder?.background.concealedFrames ?? 0) * frame) * 1000,
      kbps: this.rate.kbps(now),
      underruns: sink?.underruns ?? 0,
      heardFrame: heardSample === null || !stream ? null : heardSample / stream.hello.mel.hop_samples,
      heardAtMs: performance.timeOrigin + now * 1000 + deviceS * 1000,
    };
    tell({ kind: "figures", ...figures });
  }
}

/** The latest request: loading takes a while, and another room may be requested meanwhile. */
let wanted: Open | null = null;
let pictures: PictureReader | null = null;
const vocoders = new Map<string, Vocoder>();

async function load(open: Open): Promise<Vocoder | null> {
  if (!open.sound) return null;
  try {
    const known = vocoders.get(open.model);
    const vocoder = known ?? (await Vocoder.load(open.model, (share) => tell({ kind: "loading", share })));
    vocoders.set(open.model, vocoder);
    new NoiseSource(USUAL_MEL); // not when a stream begins
    return vocoder;
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
    tell({ kind: "caveat", detail: `The vocoder did not load (${why}): the stream can be watched, not heard.` });
    return null;
  }
}

async function open(message: Open): Promise<void> {
  wanted = message;
  room?.close();
  room = null;
  tell({ kind: "status", state: "trying", detail: "" });
  pictures ??= new PictureReader();
  const trial = await pictures.trial();
  if (trial === "closed") {
    const detail = "This browser does not decode AVIF pictures, which carry the stream.";
    tell({ kind: "status", state: "failed", detail });
    return;
  }
  if (trial === "altered") {
    const detail = "This browser alters the pictures that a page reads, perhaps to prevent tracking: the sound may be noisy.";
    tell({ kind: "caveat", detail });
  }
  const vocoder = await load(message);
  if (wanted === message) room = new Room(message, pictures, vocoder);
}

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === "open") void open(data);
  else if (data.kind === "device") deviceS = data.latencyS;
  else {
    wanted = null;
    room?.close();
    room = null;
  }
};
