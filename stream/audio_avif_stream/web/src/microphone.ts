/** The speaking page's AudioWorklet: passes the microphone's samples to the worker, piece by piece. */

import type { Piece } from "./capture.js";

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

const PIECE_SAMPLES = 512;
const NOTHING = new Float32Array(128); // while the page changes microphones, so that the time goes on

class Microphone extends AudioWorkletProcessor {
  private worker: MessagePort | null = null;
  private piece = new Float32Array(PIECE_SAMPLES);
  private count = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<MessagePort>) => {
      this.worker = data;
      this.count = 0;
    };
  }

  process([[input]]: [[Float32Array?]]): boolean {
    for (const sample of input ?? NOTHING) {
      this.piece[this.count++] = sample;
      if (this.count < PIECE_SAMPLES) continue;
      this.worker?.postMessage({ samples: this.piece, atMs: Date.now() } satisfies Piece, [this.piece.buffer]);
      this.piece = new Float32Array(PIECE_SAMPLES);
      this.count = 0;
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
