/** Tiles in the order they are played, and how deep the buffer must be. As `audio_avif/link/jitter.py`. */

import type { Frame } from "./features.js";
import { roundHalfToEven } from "./rounding.js";

/** A decoded tile; `logMel` is null where its picture is damaged. */
export interface Picture {
  kind: "tile";
  sequence: number;
  firstFrame: number;
  frames: number;
  logMel: Frame[] | null;
  receivedS: number;
}

/** A pause, with the envelope of its noise in log10. */
export interface Quiet {
  kind: "pause";
  sequence: number;
  firstFrame: number;
  frames: number;
  envelope: Frame;
}

export type Packet = Picture | Quiet;

export class TileCounts {
  received = 0;
  repeated = 0;
  late = 0;
  lost = 0;
  recovered = 0;
  damaged = 0;
  skipped = 0;
}

const CAPACITY = 128;

/** Holds tiles until they are due; copies replace lost ones. */
export class TileQueue {
  readonly counts = new TileCounts();
  private tiles = new Map<number, Packet>();
  private copies = new Map<number, Picture>();
  private next: number | null = null;

  get size(): number {
    return this.tiles.size;
  }

  /** Whether a copy of this tile is needed. */
  needs(sequence: number): boolean {
    return this.next !== null && sequence >= this.next && !this.tiles.has(sequence) && !this.copies.has(sequence);
  }

  push(packet: Packet, copies: Picture[] = []): void {
    this.next ??= packet.sequence;
    if (this.tiles.has(packet.sequence)) this.counts.repeated++;
    else if (packet.sequence < this.next) this.counts.late++;
    else {
      this.counts.received++;
      this.tiles.set(packet.sequence, packet);
      if (this.tiles.size > CAPACITY) this.skipTo(this.sorted()[1]);
    }
    for (const copy of copies) if (copy.sequence >= this.next) this.copies.set(copy.sequence, copy);
    while (this.copies.size > CAPACITY) this.copies.delete(Math.min(...this.copies.keys()));
  }

  private sorted(): number[] {
    return [...this.tiles.keys()].sort((a, b) => a - b);
  }

  /** The next tile in order or a copy of it, if either has arrived. */
  pop(): Packet | null {
    if (this.next === null) return null;
    const tile = this.tiles.get(this.next) ?? null;
    const copy = this.copies.get(this.next) ?? null;
    this.tiles.delete(this.next);
    this.copies.delete(this.next);
    if (!tile && copy) this.counts.recovered++;
    if (tile ?? copy) this.next++;
    return tile ?? copy;
  }

  /** Stop waiting for the tiles before the oldest that is here; return how many are lost. */
  giveUpMissing(): number {
    if (!this.tiles.size || this.next === null) return 0;
    const missing = Math.min(...this.tiles.keys(), ...this.copies.keys()) - this.next;
    this.counts.lost += missing;
    this.next += missing;
    return missing;
  }

  /** Drop the tiles before this one: their time has passed. */
  skipTo(sequence: number): void {
    const passed = this.sorted().filter((number) => number < sequence);
    for (const number of passed) this.tiles.delete(number);
    for (const number of this.copies.keys()) if (number < sequence) this.copies.delete(number);
    if (this.next !== null && sequence > this.next) {
      this.counts.skipped += passed.length;
      this.counts.lost += sequence - this.next - passed.length;
      this.next = sequence;
    }
  }

  /** Drop all but the `count` newest tiles; return whether any were dropped. */
  keepNewest(count: number): boolean {
    if (this.tiles.size <= count) return false;
    const numbers = this.sorted();
    this.skipTo(count ? numbers[numbers.length - count] : numbers[numbers.length - 1] + 1);
    return true;
  }

  /** End the stream after `tiles` tiles; those at its end that never came are lost. */
  end(tiles: number): void {
    this.counts.lost += Math.max(0, tiles - 1 - Math.max((this.next ?? 0) - 1, ...this.tiles.keys()));
  }
}

const WINDOW_S = 10;
const FIRST_WINDOW_S = 1;
const WINDOW_TILES = 20;
const KNOWN_TILES = 10;
const LATER_PERCENT = 5;
// Of n latenesses spread evenly over a range, the greatest falls short of its end by more than 5/n once in e^5 times.
const LATER_THAN_LATEST = 5;
const MAX_TILES = 512;
const CLOCK_JUMP_S = 1;

/** How much of its past a stream of this age is judged by; a young one, whose start may be disturbed, by the later half. */
export function recentS(ageS: number): number {
  return Math.min(WINDOW_S, Math.max(FIRST_WINDOW_S, ageS / 2));
}

/**
 * Measures how late tiles come: the buffer must hold the 95th percentile of the last `recentS`.
 * A burst after a stall counts once.
 */
export class ArrivalWatch {
  baseS = 0;
  latenessS = 0;
  /** How late the next tile may come: the greatest of n latenesses and 5/n of it; infinite below 10 arrivals. */
  latestS = Infinity;
  private beganS: number | null = null;
  private transits: { nowS: number; transitS: number; counts: boolean }[] = [];
  private last: { nowS: number; frame: number } | null = null;

  constructor(private readonly frameS: number) {}

  reset(): void {
    this.transits = [];
    this.last = null;
    this.beganS = null;
    this.baseS = this.latenessS = 0;
    this.latestS = Infinity;
  }

  push(firstFrame: number, nowS: number): void {
    const transitS = nowS - firstFrame * this.frameS;
    if (this.transits.length && transitS < this.baseS - CLOCK_JUMP_S) this.reset();
    const counts = !!this.last && nowS - this.last.nowS >= 0.5 * (firstFrame - this.last.frame) * this.frameS;
    this.last = { nowS, frame: firstFrame };
    this.beganS ??= nowS;
    const earliestS = nowS - recentS(nowS - this.beganS);
    this.transits.push({ nowS, transitS, counts });
    if (this.transits.length > MAX_TILES) this.transits.shift();
    while (this.transits.length > WINDOW_TILES && this.transits[0].nowS < earliestS) this.transits.shift();
    this.baseS = Math.min(...this.transits.map((each) => each.transitS));
    const counted = this.transits.filter((each) => each.counts).map((each) => each.transitS);
    counted.sort((a, b) => a - b);
    const later = Math.floor((this.transits.length * LATER_PERCENT) / 100);
    this.latenessS = counted.length ? counted[Math.max(0, counted.length - 1 - later)] - this.baseS : 0;
    const isKnown = counted.length > 0 && this.transits.length >= KNOWN_TILES;
    const beyond = 1 + LATER_THAN_LATEST / this.transits.length;
    this.latestS = isKnown ? (counted[counted.length - 1] - this.baseS) * beyond : Infinity;
  }
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const WATCH_S = 1;

/** Finds how deep the buffer usually is, from its depth at each tile of the last second. */
export class DepthWatch {
  private depthsS: number[] = [];
  private readonly maxCount: number;

  constructor(tileS: number) {
    this.maxCount = Math.max(3, roundHalfToEven(WATCH_S / tileS));
  }

  reset(): void {
    this.depthsS = [];
  }

  push(depthS: number): number {
    this.depthsS = [...this.depthsS, depthS].slice(-this.maxCount);
    return median(this.depthsS);
  }

  /** Record that the buffer was deliberately made deeper by `changeS`. */
  adjust(changeS: number): void {
    this.depthsS = this.depthsS.map((depthS) => depthS + changeS);
  }
}
