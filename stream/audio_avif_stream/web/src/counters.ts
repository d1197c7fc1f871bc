/** Short counters of packets become whole numbers again. As `audio_avif/link/counters.py`; both run `tests/data/counters.json`. */

const SPAN = 2 ** 16;
export const MAX_COUNT = 2 ** 40;

/** The bits of a number that a message carries. */
export const short = (number: number): number => number % SPAN;

/** The number with these lowest 16 bits that is nearest to `near` and not negative. */
export function extended(low: number, near: number): number {
  const ahead = (((low - near) % SPAN) + SPAN + SPAN / 2) % SPAN;
  const number = near + ahead - SPAN / 2;
  return number >= 0 ? number : number + SPAN;
}

/** Where a stream is: the newest packet of a connection, near which the next ones lie. */
export class Counters {
  sequence = 0;
  firstFrame = 0;

  /** A packet's whole numbers, given what its message carries of them. */
  extend(sequence: number, firstFrame: number): { sequence: number; firstFrame: number } {
    return { sequence: extended(sequence, this.sequence), firstFrame: extended(firstFrame, this.firstFrame) };
  }

  /** Whether `extend` finds these numbers; else a place must be sent before their packet. */
  reaches(sequence: number, firstFrame: number): boolean {
    const found = this.extend(short(sequence), short(firstFrame));
    return found.sequence === sequence && found.firstFrame === firstFrame;
  }

  /** Take note of a packet; reordered ones and copies do not move it back. */
  advance(sequence: number, firstFrame: number): void {
    if (sequence >= this.sequence) this.moveTo(sequence, firstFrame);
  }

  moveTo(sequence: number, firstFrame: number): void {
    this.sequence = sequence;
    this.firstFrame = firstFrame;
  }
}
