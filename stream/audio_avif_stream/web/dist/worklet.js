// src/config.ts
var RATE_HZ = 16e3;

// src/resample.ts
var HALF_TAPS = 16;
var PHASES = 512;
var KAISER_BETA = 8;
var CUTOFF = 0.95;
function bessel0(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; k < 30; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}
function makeTable(halfTaps, cutoff) {
  return Array.from(
    { length: PHASES + 1 },
    (_, phase) => Float32Array.from({ length: 2 * halfTaps }, (_2, tap) => {
      const t = tap - halfTaps + 1 - phase / PHASES;
      const inside = 1 - (t / halfTaps) ** 2;
      const window = inside > 0 ? bessel0(KAISER_BETA * Math.sqrt(inside)) / bessel0(KAISER_BETA) : 0;
      return window * cutoff * (t ? Math.sin(Math.PI * cutoff * t) / (Math.PI * cutoff * t) : 1);
    })
  );
}
var Resampler = class {
  constructor(step) {
    this.step = step;
    const halfTaps = Math.ceil(HALF_TAPS * Math.max(1, step));
    this.table = makeTable(halfTaps, CUTOFF / Math.max(1, step));
    this.history = new Float32Array(2 * halfTaps);
  }
  step;
  table;
  history;
  place = 1;
  /** Pull samples one by one until `out` is full. */
  fill(out, next) {
    for (let i = 0; i < out.length; i++) {
      while (this.place >= 1) this.take(next());
      out[i] = this.make();
    }
  }
  /** Take samples and return the resampled ones. */
  push(samples) {
    const out = [];
    for (const sample of samples) {
      this.take(sample);
      while (this.place < 1) out.push(this.make());
    }
    return Float32Array.from(out);
  }
  take(sample) {
    this.history.copyWithin(0, 1);
    this.history[this.history.length - 1] = sample;
    this.place--;
  }
  make() {
    const phase = this.place * PHASES;
    const [lower, upper] = [this.table[Math.floor(phase)], this.table[Math.floor(phase) + 1]];
    const share = phase - Math.floor(phase);
    let sum = 0;
    for (let tap = 0; tap < lower.length; tap++) {
      sum += this.history[tap] * (lower[tap] + share * (upper[tap] - lower[tap]));
    }
    this.place += this.step;
    return sum;
  }
};

// src/ring.ts
var CAPACITY = 8 * 16e3;
var FADE = 0.95;
var Ring = class {
  /** Number of samples taken out. */
  taken = 0;
  /** Number of underruns. */
  underruns = 0;
  samples = new Float32Array(CAPACITY);
  readAt = 0;
  count = 0;
  isDue = false;
  last = 0;
  /** Queue samples; a full ring drops the oldest. */
  write(samples) {
    for (const sample of samples) {
      this.samples[(this.readAt + this.count) % CAPACITY] = sample;
      if (this.count < CAPACITY) this.count++;
      else {
        this.readAt = (this.readAt + 1) % CAPACITY;
        this.taken++;
      }
    }
    this.isDue ||= samples.length > 0;
  }
  /** No sound is due until more is written. */
  rest() {
    this.isDue = false;
  }
  /** The next sample; without one, the last one fades out. */
  next = () => {
    if (this.count) {
      this.last = this.samples[this.readAt];
      this.readAt = (this.readAt + 1) % CAPACITY;
      this.count--;
      this.taken++;
    } else {
      if (this.isDue) this.underruns++;
      this.isDue = false;
      this.last *= FADE;
    }
    return this.last;
  };
};

// src/player.ts
var REPORT_S = 0.016;
var Player = class {
  constructor(deviceRateHz) {
    this.deviceRateHz = deviceRateHz;
    this.resampler = deviceRateHz === RATE_HZ ? null : new Resampler(RATE_HZ / deviceRateHz);
  }
  deviceRateHz;
  ring = new Ring();
  resampler;
  worker = null;
  playedS = 0;
  reportedS = 0;
  /** Play the samples of this port from now on, and drop all earlier ones. */
  follow(worker) {
    const ring = this.ring = new Ring();
    this.worker = worker;
    worker.onmessage = ({ data }) => {
      if (data === "rest") ring.rest();
      else ring.write(data);
    };
  }
  /** Fill the block that the device plays next. */
  fill(out) {
    if (this.resampler) this.resampler.fill(out, this.ring.next);
    else for (let i = 0; i < out.length; i++) out[i] = this.ring.next();
    this.playedS += out.length / this.deviceRateHz;
    if (this.worker && this.playedS >= this.reportedS + REPORT_S) {
      this.reportedS = this.playedS;
      const report = { taken: this.ring.taken, underruns: this.ring.underruns, playedS: this.playedS };
      this.worker.postMessage(report);
    }
  }
};

// src/worklet.ts
var Processor = class extends AudioWorkletProcessor {
  player = new Player(sampleRate);
  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.player.follow(data);
  }
  process(_inputs, [[out]]) {
    this.player.fill(out);
    return true;
  }
};
registerProcessor("player", Processor);
