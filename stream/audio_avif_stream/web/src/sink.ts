/** The worker's end of the player's ring. */

import { RATE_HZ } from "./config.js";
import type { Chunk } from "./position.js";

export type ToRing = Float32Array | "rest";

/** The player's report: samples played so far, and underruns. */
export interface FromRing {
  taken: number;
  underruns: number;
  /** Seconds that the device has played, with silence. */
  playedS: number;
}

const MAX_EXTRAPOLATED_S = 0.1;
const CLOCK_REPORTS = 64;

export class Sink {
  underruns = 0;

  private written = 0;
  private taken = 0;
  private playedS = 0;
  private leads: number[] = [];
  private isResting = true;
  private places: { at: number; samples: number; firstSample: number }[] = [];

  /** `onReport` is called every 16 ms while sound is played, or once per block if blocks are longer. */
  constructor(
    private readonly port: MessagePort,
    private readonly nowS: () => number,
    onReport: () => void,
  ) {
    port.onmessage = ({ data }: MessageEvent<FromRing>) => {
      this.taken = data.taken;
      this.underruns = data.underruns;
      this.playedS = data.playedS;
      this.leads = [...this.leads, nowS() - data.playedS].slice(-CLOCK_REPORTS);
      while (this.places.length > 1 && this.places[1].at <= this.taken) this.places.shift();
      onReport();
    };
  }

  /** Reports may be read late but never early, so the earliest of the last ones gives the device's clock. */
  private get takenNow(): number {
    const reportedAtS = this.playedS + Math.min(...this.leads);
    const sinceS = this.leads.length ? Math.min(this.nowS() - reportedAtS, MAX_EXTRAPOLATED_S) : 0;
    return Math.min(this.written, this.taken + sinceS * RATE_HZ);
  }

  /** Seconds of sound written so far, silence included. */
  get writtenS(): number {
    return this.written / RATE_HZ;
  }

  /** Seconds of sound written and not yet played. */
  get bufferedS(): number {
    return (this.written - this.takenNow) / RATE_HZ;
  }

  /** Stream position of the sample that leaves the ring now; null while none does. */
  get heardSample(): number | null {
    const taken = this.takenNow;
    const place = this.places.findLast((each) => each.at <= taken);
    return place && taken < place.at + place.samples ? place.firstSample + taken - place.at : null;
  }

  write({ samples, firstSample }: Chunk): void {
    if (!samples.length) return;
    this.places.push({ at: this.written, samples: samples.length, firstSample });
    this.send(samples);
  }

  silence(seconds: number): void {
    this.send(new Float32Array(Math.max(0, Math.round(seconds * RATE_HZ))));
  }

  /** No sound is due until more is written, so an empty ring is not an underrun. */
  rest(): void {
    if (!this.isResting) this.port.postMessage("rest" satisfies ToRing);
    this.isResting = true;
  }

  private send(samples: Float32Array): void {
    this.written += samples.length;
    this.isResting = false;
    const own = samples.slice();
    this.port.postMessage(own satisfies ToRing, [own.buffer]);
  }
}
