/** Draws the history as a moving spectrogram: the newest frame at the right edge, the low band at the bottom. */

import type { Palette } from "./colours.js";
import { lookup } from "./colours.js";
import { type MelConfig, frameS } from "./config.js";
import { HISTORY_FRAMES, History, Kind } from "./history.js";

const EDGE_WINDOW_MS = 5000;
const REST_MS = 100; // between two looks at a picture that stands still
const MAX_SHOWN_S = 12;
const MIN_SHOWN_S = 4;
const PX_PER_S = 110;
const SWEEP_GAP_FRAMES = 12;
const AXIS_PX = 20; // as in style.css

export interface Look {
  isDark: boolean;
  palette: Palette;
  /** Without scrolling, for reduced motion: the picture is overwritten from left to right. */
  isStill: boolean;
}

export class Spectrogram {
  isPaused = false;
  private readonly context: CanvasRenderingContext2D;
  private readonly strip = document.createElement("canvas");
  private readonly stripContext: CanvasRenderingContext2D;
  private history: History | null = null;
  private frameMs = 16;
  private tileFrames = 8;
  private colours: Uint32Array;
  private arrivals: { atMs: number; aheadMs: number }[] = [];
  private heard: { frame: number; atMs: number } | null = null;
  private edge = 0;
  /** The canvas has to be drawn once more though nothing moves. */
  private isStale = true;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private look: Look,
  ) {
    this.context = canvas.getContext("2d")!;
    this.stripContext = this.strip.getContext("2d")!;
    this.colours = lookup(look.palette, look.isDark);
    const step = (): void => {
      if (this.draw()) requestAnimationFrame(step);
      else setTimeout(step, REST_MS);
    };
    step();
  }

  setLook(look: Look): void {
    this.look = look;
    this.colours = lookup(look.palette, look.isDark);
    this.isStale = true;
    if (this.history) this.paint([...Array(HISTORY_FRAMES).keys()].map((i) => this.history!.end - 1 - i));
  }

  begin(mel: MelConfig, tileFrames: number): void {
    this.history = new History(mel.n_mels);
    this.frameMs = frameS(mel) * 1000;
    this.tileFrames = tileFrames;
    this.edge = 0;
    this.end();
    this.strip.width = HISTORY_FRAMES;
    this.strip.height = mel.n_mels;
  }

  /** Stop the movement at the end of a stream. */
  end(): void {
    this.arrivals = [];
    this.heard = null;
    this.isStale = true;
  }

  putTile(firstFrame: number, frames: number, width: number, pixels: Uint8Array): void {
    this.history?.putTile(firstFrame, frames, width, pixels);
    this.arrive(firstFrame + this.tileFrames);
  }

  putPause(firstFrame: number, column: Uint8Array): void {
    this.history?.putPause(firstFrame, column);
    this.arrive(firstFrame + this.tileFrames);
  }

  /** The frame that was heard at a time. */
  setHeard(frame: number | null, atMs: number): void {
    this.heard = frame === null ? null : { frame, atMs };
  }

  private arrive(endFrame: number): void {
    const atMs = performance.now();
    this.arrivals.push({ atMs, aheadMs: endFrame * this.frameMs - atMs });
    this.arrivals = this.arrivals.filter((each) => each.atMs > atMs - EDGE_WINDOW_MS).slice(-512);
  }

  /** The frame at the right edge: the stream's clock minus a tile, so that no column is empty. */
  private edgeAt(nowMs: number): number {
    if (!this.arrivals.length) return this.edge;
    const aheadMs = Math.max(...this.arrivals.map((each) => each.aheadMs));
    const target = (nowMs + aheadMs) / this.frameMs - this.tileFrames;
    const error = target - this.edge;
    const dt = this.frameMs;
    return Math.abs(error) > 64 ? target : this.edge + Math.max(0, error * Math.min(1, 8 / dt));
  }

  /** Returns whether the picture moves. */
  private draw(): boolean {
    const { canvas, context, history } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width || !height) return false;
    const isResized = canvas.width !== width || canvas.height !== height;
    if (isResized) [canvas.width, canvas.height] = [width, height];
    const isAtRest = this.isPaused || (!this.arrivals.length && !this.isStale);
    if (isAtRest && !isResized) return false;
    this.isStale = false;

    const nowMs = performance.now();
    if (!this.isPaused) this.edge = this.edgeAt(nowMs);
    const pictureHeight = height - AXIS_PX * ratio;
    context.clearRect(0, 0, width, height);
    context.fillStyle = hex(this.colours[0]);
    context.fillRect(0, 0, width, pictureHeight);
    if (!history) return false;
    history.fillPause(Math.ceil(this.edge) + this.tileFrames);
    this.paint(history.takeChanges());

    const shownS = Math.min(Math.max(canvas.clientWidth / PX_PER_S, MIN_SHOWN_S), MAX_SHOWN_S);
    const shown = (shownS * 1000) / this.frameMs;
    const scale = width / shown;
    context.imageSmoothingEnabled = false;
    const heard = this.heard && this.heard.frame + (performance.timeOrigin + nowMs - this.heard.atMs) / this.frameMs;
    if (this.look.isStill) {
      const edge = Math.floor(this.edge);
      const start = edge - (edge % Math.floor(shown));
      const whole = Math.floor(shown);
      this.copy(start - whole + (edge - start) + SWEEP_GAP_FRAMES, start, (frame) => (frame - start + whole) * scale, scale, pictureHeight);
      this.copy(start, edge, (frame) => (frame - start) * scale, scale, pictureHeight);
    } else {
      const xOf = (frame: number): number => (frame - this.edge + shown) * scale;
      this.copy(Math.floor(this.edge - shown), Math.ceil(this.edge), xOf, scale, pictureHeight);
      this.drawSeconds(shown, xOf, ratio, pictureHeight);
      if (heard !== null && this.arrivals.length) this.drawHeard(Math.min(xOf(heard), width), ratio, pictureHeight);
    }
    return true;
  }

  /** Copy columns of the strip to the canvas; the strip is a ring. */
  private copy(from: number, until: number, xOf: (frame: number) => number, scale: number, height: number): void {
    const { history, context, strip } = this;
    from = Math.max(from, 0, history!.end - HISTORY_FRAMES);
    until = Math.min(until, history!.end);
    while (from < until) {
      const column = from % HISTORY_FRAMES;
      const count = Math.min(until - from, HISTORY_FRAMES - column);
      context.drawImage(strip, column, 0, count, strip.height, xOf(from), 0, count * scale, height);
      from += count;
    }
  }

  /** Draw columns of the history in the palette's colours. */
  private paint(frames: number[]): void {
    const history = this.history!;
    const image = new ImageData(1, history.bands);
    const pixels = new Uint32Array(image.data.buffer);
    for (const frame of frames) {
      if (frame < 0 || frame < history.end - HISTORY_FRAMES) continue;
      const column = frame % HISTORY_FRAMES;
      const kind = history.kinds[column];
      for (let row = 0; row < history.bands; row++) {
        if (kind === Kind.lost) pixels[row] = this.colours[(row + frame) % 6 < 2 ? 140 : 20];
        else pixels[row] = this.colours[kind === Kind.nothing ? 0 : history.values[column * history.bands + row]];
      }
      this.stripContext.putImageData(image, column, 0);
    }
  }

  /** Draw the time axis in seconds of the stream. */
  private drawSeconds(shown: number, xOf: (frame: number) => number, ratio: number, height: number): void {
    const { context } = this;
    const framesPerS = 1000 / this.frameMs;
    context.font = `${11 * ratio}px ui-sans-serif, system-ui, sans-serif`;
    context.textBaseline = "middle";
    const soft = this.look.isDark ? "#a3a3ad" : "#5c5e68";
    for (let second = Math.max(0, Math.ceil((this.edge - shown) / framesPerS)); second * framesPerS < this.edge; second++) {
      const x = xOf(second * framesPerS);
      context.fillStyle = this.look.isDark ? "rgb(255 255 255 / 0.14)" : "rgb(0 0 0 / 0.12)";
      context.fillRect(Math.round(x), 0, ratio, height);
      context.fillStyle = soft;
      context.fillRect(Math.round(x), height, ratio, 5 * ratio);
      const label = `${Math.floor(second / 60)}:${String(second % 60).padStart(2, "0")}`;
      context.fillText(label, x + 4 * ratio, height + (AXIS_PX / 2 + 2) * ratio);
    }
  }

  /** Draw a line at the frame that is heard now. */
  private drawHeard(x: number, ratio: number, height: number): void {
    const { context } = this;
    context.fillStyle = this.look.isDark ? "#ffffff" : "#000000";
    context.fillRect(Math.round(x), 0, 1.5 * ratio, height);
    context.beginPath();
    context.moveTo(x - 5 * ratio, 0);
    context.lineTo(x + 6 * ratio, 0);
    context.lineTo(x + 0.75 * ratio, 7 * ratio);
    context.fill();
  }
}

function hex(colour: number): string {
  const byte = (at: number): string => ((colour >> at) & 255).toString(16).padStart(2, "0");
  return `#${byte(0)}${byte(8)}${byte(16)}`;
}
