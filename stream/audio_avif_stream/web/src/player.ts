/** Plays the ring that the worker fills at the device's rate, and reports to the worker how much was played. */

import { RATE_HZ } from "./config.js";
import { Resampler } from "./resample.js";
import { Ring } from "./ring.js";
import type { FromRing, ToRing } from "./sink.js";

const REPORT_S = 0.016;

export class Player {
  private ring = new Ring();
  private readonly resampler: Resampler | null;
  private worker: MessagePort | null = null;
  private playedS = 0;
  private reportedS = 0;

  constructor(private readonly deviceRateHz: number) {
    this.resampler = deviceRateHz === RATE_HZ ? null : new Resampler(RATE_HZ / deviceRateHz);
  }

  /** Play the samples of this port from now on, and drop all earlier ones. */
  follow(worker: MessagePort): void {
    const ring = (this.ring = new Ring());
    this.worker = worker;
    worker.onmessage = ({ data }: MessageEvent<ToRing>) => {
      if (data === "rest") ring.rest();
      else ring.write(data);
    };
  }

  /** Fill the block that the device plays next. */
  fill(out: Float32Array): void {
    if (this.resampler) this.resampler.fill(out, this.ring.next);
    else for (let i = 0; i < out.length; i++) out[i] = this.ring.next();
    this.playedS += out.length / this.deviceRateHz;
    if (this.worker && this.playedS >= this.reportedS + REPORT_S) {
      this.reportedS = this.playedS;
      const report: FromRing = { taken: this.ring.taken, underruns: this.ring.underruns, playedS: this.playedS };
      this.worker.postMessage(report);
    }
  }
}
