/** The last half minute of a stream as gray values, one column per frame, and the kind of each column. */

export const HISTORY_FRAMES = 2048;

export const Kind = {
  nothing: 0,
  tile: 1,
  pause: 2,
  lost: 3,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

const MAX_LOST_FRAMES = 512;

export class History {
  readonly values: Uint8Array;
  readonly kinds = new Uint8Array(HISTORY_FRAMES);
  /** One more than the newest frame that has a column. */
  end = 0;
  private dirty: number[] = [];
  private pause: { firstFrame: number; column: Uint8Array } | null = null;

  constructor(readonly bands: number) {
    this.values = new Uint8Array(HISTORY_FRAMES * bands);
  }

  /** The frames whose columns changed since the last call. */
  takeChanges(): number[] {
    const changes = this.dirty;
    this.dirty = [];
    return changes;
  }

  /** A tile's picture `[bands, width]` row by row, of which the first frames are sound. */
  putTile(firstFrame: number, frames: number, width: number, pixels: Uint8Array): void {
    if (this.pause) this.fillPause(firstFrame);
    else this.fillLost(firstFrame);
    this.pause = null;
    for (let t = 0; t < frames; t++) {
      this.put(firstFrame + t, Kind.tile, (row) => pixels[row * width + t]);
    }
  }

  /** A pause begins here; the noise's column is low band first. */
  putPause(firstFrame: number, column: Uint8Array): void {
    if (this.pause) this.fillPause(firstFrame);
    else this.fillLost(firstFrame);
    this.pause = { firstFrame: Math.max(firstFrame, this.end), column };
  }

  /** A pause lasts until the next message; draw it up to here. */
  fillPause(until: number): void {
    if (!this.pause) return;
    const { firstFrame, column } = this.pause;
    const from = Math.max(firstFrame, this.end, until - HISTORY_FRAMES);
    for (let frame = from; frame < until; frame++) {
      this.put(frame, Kind.pause, (row) => column[this.bands - 1 - row]);
    }
  }

  private fillLost(until: number): void {
    if (!this.end || until - this.end > MAX_LOST_FRAMES) return;
    for (let frame = this.end; frame < until; frame++) this.put(frame, Kind.lost, () => 0);
  }

  private put(frame: number, kind: Kind, valueAt: (row: number) => number): void {
    if (frame < this.end - HISTORY_FRAMES) return;
    for (let passed = this.end && Math.max(this.end, frame - HISTORY_FRAMES); this.end && passed < frame; passed++) {
      this.kinds[passed % HISTORY_FRAMES] = Kind.nothing;
      this.dirty.push(passed);
    }
    const column = frame % HISTORY_FRAMES;
    this.kinds[column] = kind;
    for (let row = 0; row < this.bands; row++) this.values[column * this.bands + row] = valueAt(row);
    this.end = Math.max(this.end, frame + 1);
    this.dirty.push(frame);
    if (this.dirty.length > HISTORY_FRAMES) this.dirty = this.dirty.slice(-HISTORY_FRAMES);
  }
}
