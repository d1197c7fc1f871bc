/** A page's listening: its sound device, its worker, and the spectrogram of what comes. */

import { labelBands, serverUrl } from "./parts.js";
import { BROWSER_PLAYOUT } from "./playout.js";
import type { Figures, FromWorker, Open, State, ToWorker } from "./protocol.js";
import { Sound } from "./sound.js";
import type { Spectrogram } from "./spectrogram.js";

/** What a page asks to hear. */
export type Wanted = Pick<Open, "room" | "token" | "model" | "minBufferS" | "isRecorded">;

export interface Hearer {
  onState(state: State, detail: string): void;
  /** A problem that does not end the stream. */
  onCaveat(detail: string): void;
  /** The share of the vocoder that has come. */
  onLoading(share: number): void;
  onFigures(figures: Figures): void;
  onRecorded(message: Extract<FromWorker, { kind: "recordedTile" | "recordedSamples" }>): void;
}

/** The message about a feature that this browser lacks; "" for none. */
export function missing(): string {
  if (!("Worker" in window) || !("OffscreenCanvas" in window) || !("createImageBitmap" in window)) {
    return "This browser is too old for this page: it has no OffscreenCanvas, which decodes the pictures.";
  }
  return "WebSocket" in window ? "" : "This browser has no WebSocket, which carries the stream.";
}

export class Listening {
  isOn = false;
  sound: Sound | null = null;
  private worker: Worker | null = null;
  private opening: Promise<Sound> | null = null;
  private volume = 1;

  constructor(
    private readonly spectrogram: Spectrogram,
    private readonly hearer: Hearer,
  ) {}

  /** Open the sound device, from a click; returns why the stream can only be watched, "" where it can be heard. */
  async open(): Promise<string> {
    this.isOn = true;
    try {
      this.opening ??= Sound.open();
      this.sound = await this.opening;
    } catch (error) {
      this.opening = null;
      return error instanceof Error ? error.message : String(error);
    }
    if (this.wasStopped()) this.sound.suspend();
    else this.sound.resume();
    this.setVolume(this.volume);
    return "";
  }

  /** Listen to a room, with the sound device that `open` opened. */
  start(wanted: Wanted): void {
    this.worker ??= this.startWorker();
    const port = this.sound?.openPort() ?? null;
    const takenS = this.sound?.blockS ? this.sound.blockS + BROWSER_PLAYOUT.concealAtS : 0; // blocks are taken whole
    const minBufferS = wanted.minBufferS + takenS;
    this.ask({ kind: "open", url: serverUrl(), ...wanted, minBufferS, sound: port }, port ? [port] : []);
  }

  /** Leave the room. */
  stop(): void {
    this.isOn = false;
    this.ask({ kind: "close" });
    this.sound?.suspend();
    this.spectrogram.end();
  }

  /** Set the volume, 0 to 1. */
  setVolume(share: number): void {
    this.volume = share;
    this.sound?.setVolume(share);
  }

  /** Checked after a wait: the button may have been pressed meanwhile. */
  private wasStopped(): boolean {
    return !this.isOn;
  }

  private startWorker(): Worker {
    const worker = new Worker("engine.js", { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.take(data);
    worker.onerror = ({ message }) => {
      this.worker = null;
      if (this.isOn) this.hearer.onState("failed", `The background worker of this page failed (${message}); press the button to try again.`);
    };
    return worker;
  }

  private ask(message: ToWorker, transfer: Transferable[] = []): void {
    this.worker?.postMessage(message, transfer);
  }

  private take(message: FromWorker): void {
    if (!this.isOn) return;
    const { spectrogram, hearer } = this;
    if (message.kind === "status") {
      if (message.state !== "playing") spectrogram.end();
      hearer.onState(message.state, message.detail);
    } else if (message.kind === "caveat") hearer.onCaveat(message.detail);
    else if (message.kind === "loading") hearer.onLoading(message.share);
    else if (message.kind === "stream") {
      spectrogram.begin(message.mel, message.tile.frames);
      labelBands(message.mel);
    } else if (message.kind === "tile") spectrogram.putTile(message.firstFrame, message.frames, message.width, message.pixels);
    else if (message.kind === "pause") spectrogram.putPause(message.firstFrame, message.pixels);
    else if (message.kind === "end") spectrogram.end();
    else if (message.kind === "figures") {
      spectrogram.setHeard(message.heardFrame, message.heardAtMs);
      if (this.sound) this.ask({ kind: "device", latencyS: this.sound.latencyS });
      hearer.onFigures(message);
    } else hearer.onRecorded(message);
  }
}
