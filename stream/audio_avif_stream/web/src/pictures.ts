/** AVIF stills to pixels, by the browser's own decoder. */

import { inspectStill } from "./container.js";
import { TileError } from "./errors.js";

/** A still of 8 x 80 pixels to test the browser with, `tests/data/wire/still.avif`; AV1 decoding is exact. */
const TRIAL =
  "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOltZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAA5waXRtAA" +
  "AAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ0AAAArAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAAAQAAYXYwMUNvbG9yAAAAAGhpcHJw" +
  "AAAASWlwY28AAAAUaXNwZQAAAAAAAAAIAAAAUAAAAA5waXhpAAAAAAEIAAAADGF2MUOBABwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAA" +
  "AAAAAAAAEAAQQBAoMEAAAAM21kYXQSAAoIGAm89pgIaDUyHRbCzu44FlYA/GT2llcoKki0vNU0tcTdKcvk9AoZ";
const TRIAL_PERIOD = 251;
const TRIAL_SUM = 7_232_545;

export class PictureReader {
  private readonly canvas = new OffscreenCanvas(1, 1);
  private readonly context: OffscreenCanvasRenderingContext2D;

  constructor() {
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("no canvas");
    this.context = context;
  }

  /** The gray values `[height, width]` row by row. Throws TileError for anything but a still of this size. */
  async read(still: Uint8Array<ArrayBuffer>, width: number, height: number): Promise<Uint8Array> {
    const layout = inspectStill(still);
    if (layout.width !== width || layout.height !== height || layout.bitDepth !== 8 || !layout.isMonochrome) {
      throw new TileError("the tile's picture is not of the size that the stream promised");
    }
    const bitmap = await this.open(still);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const rgba = this.context.getImageData(0, 0, width, height).data;
    return new Uint8Array(width * height).map((_, i) => rgba[4 * i]);
  }

  private async open(still: Uint8Array<ArrayBuffer>): Promise<ImageBitmap> {
    const blob = new Blob([still], { type: "image/avif" });
    try {
      // Without colour management, so that pixels are unchanged.
      return await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    } catch {
      throw new TileError("the tile's AVIF data cannot be decoded");
    }
  }

  /** Whether this browser decodes an AVIF still exactly, alters it, or fails. */
  async trial(): Promise<"exact" | "altered" | "closed"> {
    try {
      const still = Uint8Array.from(atob(TRIAL), (character) => character.charCodeAt(0));
      const pixels = await this.read(still, 8, 80);
      const sum = pixels.reduce((sum, pixel, i) => sum + pixel * ((i % TRIAL_PERIOD) + 1), 0);
      return sum === TRIAL_SUM ? "exact" : "altered";
    } catch {
      return "closed";
    }
  }
}
