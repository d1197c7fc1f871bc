/** Log-mel frames to tiles of pixels: time to the right, low band at the bottom. As `audio_avif/still/tiles.py`. */

import type { TileConfig } from "./config.js";
import type { Frame } from "./features.js";

/** One tile before compression, `pixels` row by row; a stream's last tile may have fewer columns of sound. */
export interface PixelTile {
  firstFrame: number;
  frames: number;
  pixels: Uint8Array;
}

export function toPixels(logMel: Frame[], tile: TileConfig): Uint8Array {
  const [width, height] = [logMel.length, logMel[0].length];
  const scale = 255 / (tile.log10_max - tile.log10_min);
  const pixels = new Uint8Array(width * height);
  logMel.forEach((frame, t) =>
    frame.forEach((x, band) => {
      const value = Math.round(Math.min(Math.max((x - tile.log10_min) * scale, 0), 255));
      pixels[(height - 1 - band) * width + t] = value;
    }),
  );
  return pixels;
}

/** Cuts a stream of frames into tiles of one width. */
export class TileCutter {
  private pending: Frame[] = [];
  private nextFrame = 0;

  constructor(private readonly tile: TileConfig) {}

  push(logMel: Frame[]): PixelTile[] {
    this.pending.push(...logMel);
    const tiles: PixelTile[] = [];
    while (this.pending.length >= this.tile.frames) tiles.push(this.cut(this.pending.splice(0, this.tile.frames)));
    return tiles;
  }

  /** The last tile, if any frames are left; its missing columns repeat the last frame. */
  flush(): PixelTile[] {
    const frames = this.pending.length;
    if (!frames) return [];
    const missing = Array<Frame>(this.tile.frames - frames).fill(this.pending[frames - 1]);
    return [{ ...this.cut([...this.pending.splice(0), ...missing]), frames }];
  }

  private cut(logMel: Frame[]): PixelTile {
    const firstFrame = this.nextFrame;
    this.nextFrame += this.tile.frames;
    return { firstFrame, frames: this.tile.frames, pixels: toPixels(logMel, this.tile) };
  }
}
