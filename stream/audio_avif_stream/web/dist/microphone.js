// src/microphone.ts
var PIECE_SAMPLES = 512;
var NOTHING = new Float32Array(128);
var Microphone = class extends AudioWorkletProcessor {
  worker = null;
  piece = new Float32Array(PIECE_SAMPLES);
  count = 0;
  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      this.worker = data;
      this.count = 0;
    };
  }
  process([[input]]) {
    for (const sample of input ?? NOTHING) {
      this.piece[this.count++] = sample;
      if (this.count < PIECE_SAMPLES) continue;
      this.worker?.postMessage({ samples: this.piece, atMs: Date.now() }, [this.piece.buffer]);
      this.piece = new Float32Array(PIECE_SAMPLES);
      this.count = 0;
    }
    return true;
  }
};
registerProcessor("microphone", Microphone);
