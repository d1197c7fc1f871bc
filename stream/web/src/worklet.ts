/** The AudioWorklet: plays the ring that the worker fills, and tells it how much has been played. */

import { RATE_HZ } from "./config.js";
import { Resampler } from "./resample.js";
import { Ring } from "./ring.js";
import type { FromRing, ToRing } from "./sink.js";

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

const REPORT_S = 0.016;

class Player extends AudioWorkletProcessor {
  private ring = new Ring();
  private readonly resampler = sampleRate === RATE_HZ ? null : new Resampler(RATE_HZ / sampleRate);
  private worker: MessagePort | null = null;
  private playedS = 0;
  private reportedS = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<MessagePort>) => {
      this.worker = data;
      this.ring = new Ring();
      data.onmessage = ({ data: message }: MessageEvent<ToRing>) => {
        if (message === "rest") this.ring.rest();
        else this.ring.write(message);
      };
    };
  }

  process(_inputs: Float32Array[][], [[out]]: Float32Array[][]): boolean {
    if (this.resampler) this.resampler.fill(out, this.ring.next);
    else for (let i = 0; i < out.length; i++) out[i] = this.ring.next();
    this.playedS += out.length / sampleRate;
    if (this.worker && this.playedS >= this.reportedS + REPORT_S) {
      this.reportedS = this.playedS;
      const report: FromRing = { taken: this.ring.taken, underruns: this.ring.underruns, playedS: this.playedS };
      this.worker.postMessage(report);
    }
    return true;
  }
}

registerProcessor("player", Player);
