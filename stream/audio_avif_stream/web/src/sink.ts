/** The worker's end of the player's ring. */

import { RATE_HZ } from "./config.js";
import type { Chunk } from "./position.js";

export type ToRing = Float32Array | "rest";

/** Of the samples sent so far, how many have been played, and how often there were none. */
export interface FromRing {
  taken: number;
  underruns: number;
  /** For how long the device has played, silence included. */
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

  /** `onReport` is called every 16 ms while sound runs, or for every block where they are longer. */
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

  /** A report may be read late, but not early: the earliest of the last ones tells the device's clock. */
  private get takenNow(): number {
    const reportedAtS = this.playedS + Math.min(...this.leads);
    const sinceS = this.leads.length ? Math.min(this.nowS() - reportedAtS, MAX_EXTRAPOLATED_S) : 0;
    return Math.min(this.written, this.taken + sinceS * RATE_HZ);
  }

  /** Sound written but not yet played. */
  get bufferedS(): number {
    return (this.written - this.takenNow) / RATE_HZ;
  }

  /** The place in the stream that leaves the ring now; null while none does. */
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

  /** No sound is due until more is written: running out of it is no underrun. */
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
