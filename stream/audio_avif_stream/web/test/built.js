// src/rounding.ts
function roundHalfToEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}

// src/jitter.ts
var TileCounts = class {
  received = 0;
  repeated = 0;
  late = 0;
  lost = 0;
  recovered = 0;
  damaged = 0;
  skipped = 0;
};
var CAPACITY = 128;
var TileQueue = class {
  counts = new TileCounts();
  tiles = /* @__PURE__ */ new Map();
  copies = /* @__PURE__ */ new Map();
  next = null;
  get size() {
    return this.tiles.size;
  }
  /** Whether a copy of this tile is needed. */
  needs(sequence) {
    return this.next !== null && sequence >= this.next && !this.tiles.has(sequence) && !this.copies.has(sequence);
  }
  push(packet, copies = []) {
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
  sorted() {
    return [...this.tiles.keys()].sort((a, b) => a - b);
  }
  /** The next tile in order or a copy of it, if either has arrived. */
  pop() {
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
  giveUpMissing() {
    if (!this.tiles.size || this.next === null) return 0;
    const missing = Math.min(...this.tiles.keys(), ...this.copies.keys()) - this.next;
    this.counts.lost += missing;
    this.next += missing;
    return missing;
  }
  /** Drop the tiles before this one: their time has passed. */
  skipTo(sequence) {
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
  keepNewest(count) {
    if (this.tiles.size <= count) return false;
    const numbers = this.sorted();
    this.skipTo(count ? numbers[numbers.length - count] : numbers[numbers.length - 1] + 1);
    return true;
  }
  /** End the stream after `tiles` tiles; those at its end that never came are lost. */
  end(tiles) {
    this.counts.lost += Math.max(0, tiles - 1 - Math.max((this.next ?? 0) - 1, ...this.tiles.keys()));
  }
};
var WINDOW_S = 10;
var FIRST_WINDOW_S = 1;
var WINDOW_TILES = 20;
var KNOWN_TILES = 10;
var LATER_PERCENT = 5;
var LATER_THAN_LATEST = 5;
var MAX_TILES = 512;
var CLOCK_JUMP_S = 1;
function recentS(ageS) {
  return Math.min(WINDOW_S, Math.max(FIRST_WINDOW_S, ageS / 2));
}
var ArrivalWatch = class {
  constructor(frameS2) {
    this.frameS = frameS2;
  }
  frameS;
  baseS = 0;
  latenessS = 0;
  /** How late the next tile may come: the greatest of n latenesses and 5/n of it; infinite below 10 arrivals. */
  latestS = Infinity;
  beganS = null;
  transits = [];
  last = null;
  reset() {
    this.transits = [];
    this.last = null;
    this.beganS = null;
    this.baseS = this.latenessS = 0;
    this.latestS = Infinity;
  }
  push(firstFrame, nowS) {
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
    const later = Math.floor(this.transits.length * LATER_PERCENT / 100);
    this.latenessS = counted.length ? counted[Math.max(0, counted.length - 1 - later)] - this.baseS : 0;
    const isKnown = counted.length > 0 && this.transits.length >= KNOWN_TILES;
    const beyond = 1 + LATER_THAN_LATEST / this.transits.length;
    this.latestS = isKnown ? (counted[counted.length - 1] - this.baseS) * beyond : Infinity;
  }
};
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
var WATCH_S = 1;
var DepthWatch = class {
  depthsS = [];
  maxCount;
  constructor(tileS) {
    this.maxCount = Math.max(3, roundHalfToEven(WATCH_S / tileS));
  }
  reset() {
    this.depthsS = [];
  }
  push(depthS) {
    this.depthsS = [...this.depthsS, depthS].slice(-this.maxCount);
    return median(this.depthsS);
  }
  /** Record that the buffer was deliberately made deeper by `changeS`. */
  adjust(changeS) {
    this.depthsS = this.depthsS.map((depthS) => depthS + changeS);
  }
};

// src/concealment.ts
var DECAY_LOG10_PER_S = 10;
function mix(a, b, share) {
  return a.map((x, band) => x + (b[band] - x) * share);
}
function interpolate(before, after, count) {
  return Array.from({ length: count }, (_, i) => mix(before, after, (i + 1) / (count + 1)));
}
function decay(before, floor, count, frameS2) {
  return Array.from(
    { length: count },
    (_, i) => before.map((x, band) => Math.max(x - (i + 1) * DECAY_LOG10_PER_S * frameS2, Math.min(x, floor[band])))
  );
}
function overNoise(fading, floor, noise) {
  return fading.map((frame, i) => frame.map((x, band) => x > floor[band] ? Math.max(x, noise[i][band]) : noise[i][band]));
}
function fadeIn(logMel, frameS2) {
  return logMel.map((frame, i) => frame.map((x) => x + Math.min(i * DECAY_LOG10_PER_S * frameS2 - 1, 0)));
}

// src/time_scaling.ts
var MAX_CHANGE = 0.15;
var OVERLAP_SAMPLES = 64;
var PLACE_STEP_SAMPLES = 16;
var LAG_STEP_SAMPLES = 4;
var MAX_LAG_SAMPLES = 160;
var MIN_SHARE = 0.5;
var DEFERRAL_PENALTY = 0.1;
var MAX_DIFFERENCE = 0.2;
var BETWEEN_TRIES_SAMPLES = 1600;
var SILENCE = 1e-9;
function resampleFrames(before, logMel, count) {
  const known2 = [before, ...logMel];
  return Array.from({ length: count }, (_, i) => {
    const place = (i + 1) * logMel.length / count;
    const left = Math.min(Math.floor(place), logMel.length - 1);
    return mix(known2[left], known2[left + 1], place - left);
  });
}
var FrameStretcher = class {
  shortenedFrames = 0;
  lengthenedFrames = 0;
  allowance = 0;
  /** Return a tile with the wanted and allowed number of frames added or removed. */
  push(before, logMel, wanted) {
    const share = MAX_CHANGE * logMel.length;
    this.allowance = Math.min(this.allowance + share, Math.max(1, share));
    const change = Math.sign(wanted) * Math.min(Math.abs(wanted), Math.floor(this.allowance), logMel.length - 1);
    if (!change) return logMel;
    this.allowance -= Math.abs(change);
    this.shortenedFrames += Math.max(0, -change);
    this.lengthenedFrames += Math.max(0, change);
    return resampleFrames(before, logMel, logMel.length + change);
  }
};
var SampleSplicer = class {
  sinceTrySamples = BETWEEN_TRIES_SAMPLES;
  /** Return `samples` with up to `wanted` put in, or left out where that is negative. */
  push(samples, wanted, isQuiet) {
    this.sinceTrySamples += samples.length;
    if (!wanted || this.sinceTrySamples < BETWEEN_TRIES_SAMPLES) return samples;
    this.sinceTrySamples = 0;
    const wantedSamples = Math.min(Math.abs(wanted), MAX_LAG_SAMPLES);
    const { place, lag } = bestJoin(samples, wantedSamples, isQuiet ? Infinity : MAX_DIFFERENCE);
    if (!lag) return samples;
    const [from, to] = wanted < 0 ? [place, place + lag] : [place + lag, place];
    const spliced = new Float32Array(samples.length + from - to);
    spliced.set(samples.subarray(0, from));
    for (let i = 0; i < OVERLAP_SAMPLES; i++) {
      const share = (i + 1) / (OVERLAP_SAMPLES + 1);
      spliced[from + i] = samples[from + i] + (samples[to + i] - samples[from + i]) * share;
    }
    spliced.set(samples.subarray(to + OVERLAP_SAMPLES), from + OVERLAP_SAMPLES);
    return spliced;
  }
};
function bestJoin(samples, wantedSamples, maxDifference) {
  let best = { place: 0, lag: 0 };
  let leastCost = Infinity;
  const minSamples = Math.max(1, Math.floor(MIN_SHARE * wantedSamples));
  const maxSamples = Math.min(wantedSamples, samples.length - OVERLAP_SAMPLES);
  for (let lag = maxSamples; lag >= minSamples; lag -= LAG_STEP_SAMPLES) {
    let place = 0;
    let least = Infinity;
    for (let start = 0; start + lag + OVERLAP_SAMPLES <= samples.length; start += PLACE_STEP_SAMPLES) {
      const difference = differenceAt(samples, start, lag);
      if (difference < least) [place, least] = [start, difference];
    }
    const cost = least + DEFERRAL_PENALTY * (wantedSamples - lag) / wantedSamples;
    if (least <= maxDifference && cost < leastCost) [best, leastCost] = [{ place, lag }, cost];
  }
  return best;
}
function differenceAt(samples, start, lag) {
  let different = 0;
  let energy = SILENCE;
  for (let i = start; i < start + OVERLAP_SAMPLES; i++) {
    const [left, right] = [samples[i], samples[i + lag]];
    different += (left - right) ** 2;
    energy += left ** 2 + right ** 2;
  }
  return different / energy;
}

// src/playout.ts
var CATCH_UP_S = 0.3;
var KNOWN_S = 0.5;
var MAX_SEEN = 512;
var OF_LATE = 9;
var TOLERANCE_FRAMES = 0.75;
var TOLERANCE_BELOW_FRAMES = 0.375;
var TOLERANCE_IN_SPEECH_FRAMES = 1.25;
var TOLERANCE_OF_SPLICING_FRAMES = 0.2;
var MARGIN_FRAMES = 0.5;
var RESERVE_S = 5e-3;
var BROWSER_PLAYOUT = { minS: 0, maxS: 1, concealAtS: 0.035, maxConcealS: 1, fadeS: 0.5 };
var Steadiness = class {
  /** The greatest of what a tile needed for each cause, and the greatest sum of one tile. Null in the first half second. */
  unsteady = null;
  seen = [];
  beganS = null;
  /** Forget what was before a silence; the value stays until half a second is known again. */
  reset() {
    this.seen = [];
    this.beganS = null;
  }
  /**
   * Record a tile that came `latenessS` later than the earliest, and whose sound was made `delayS` after it; of `writtenS`
   * in all, `bufferedS` were waiting.
   */
  push(nowS, writtenS, bufferedS, delayS, latenessS) {
    this.beganS ??= nowS;
    const earliestS = nowS - recentS(nowS - this.beganS);
    const dryS = nowS + bufferedS - writtenS;
    const usualDryS = median([...this.seen.slice(1 - OF_LATE).map((each) => each.dryS), dryS]);
    this.seen.push({ nowS, dryS, usualDryS, delayS, latenessS });
    this.seen = this.seen.filter((each) => each.nowS >= earliestS).slice(-MAX_SEEN);
    const unsteady = this.judge();
    const isKnown = nowS - this.beganS >= KNOWN_S;
    if (isKnown || this.unsteady !== null && unsteady.aloneS > this.unsteady.aloneS) this.unsteady = unsteady;
  }
  judge() {
    const usualDryS = this.seen.at(-1).usualDryS;
    const usualDelayS = median(this.seen.map((each) => each.delayS));
    const soonerS = this.seen.map((each) => Math.max(0, Math.min(usualDryS, each.usualDryS) - each.dryS));
    const extraS = this.seen.map((each) => each.delayS - usualDelayS);
    const latenessS = this.seen.map((each) => each.latenessS);
    const sumsS = latenessS.map((late, i) => late + soonerS[i] + extraS[i]);
    return {
      aloneS: RESERVE_S + Math.max(...soonerS) + Math.max(...extraS),
      beyondLatestS: RESERVE_S + Math.max(...sumsS) - Math.max(...latenessS)
    };
  }
};
var Pacer = class {
  constructor(config, tileS, frameS2) {
    this.config = config;
    this.tileS = tileS;
    this.frameS = frameS2;
    this.unsteady = { aloneS: config.concealAtS, beyondLatestS: config.concealAtS };
    this.arrivals = new ArrivalWatch(frameS2);
    this.depth = new DepthWatch(tileS);
  }
  config;
  tileS;
  frameS;
  /** Processing time of a tile on this machine; the caller of the decoder measures and sets it. */
  processingS = 0;
  /** How unpunctual this machine is; the caller measures and sets it. */
  unsteady;
  arrivals;
  depth;
  stretcher = new FrameStretcher();
  splicedOutS = 0;
  splicedInS = 0;
  /** How many copies come with a tile. */
  copies = 0;
  /** How much sound to hold ready: what the latest tile needs, but no more than makes 95 of 100 safe; and for copies. */
  get targetS() {
    const { minS, maxS, concealAtS } = this.config;
    const usualS = Math.min(this.arrivals.latenessS, maxS) + concealAtS + this.frameS;
    const beyondS = Math.min(this.unsteady.beyondLatestS, concealAtS) + MARGIN_FRAMES * this.frameS;
    const latestS = this.arrivals.latestS + beyondS;
    const jitterS = Math.max(minS, Math.min(usualS, latestS));
    return jitterS + Math.min(this.copies * this.tileS, maxS);
  }
  /** How much sound should be waiting when a tile arrives on time. */
  get depthS() {
    return this.targetS + this.processingS;
  }
  /** With less sound than this, concealment must be made, or it comes too late; never before the latest tile. */
  get urgentS() {
    const forLatestS = this.unsteady.beyondLatestS + MARGIN_FRAMES * this.frameS;
    return Math.min(this.config.concealAtS, this.unsteady.aloneS, forLatestS) + this.processingS;
  }
  /** Sound left out to catch up. */
  get shortenedS() {
    return this.splicedOutS + this.stretcher.shortenedFrames * this.frameS;
  }
  /** Sound put in to fall back. */
  get lengthenedS() {
    return this.splicedInS + this.stretcher.lengthenedFrames * this.frameS;
  }
  /** Record a packet that arrived at `nowS`, and the number of its copies. */
  push(firstFrame, copyCount, nowS) {
    this.arrivals.push(firstFrame, nowS);
    this.copies = Math.max(this.copies, copyCount);
  }
  /** Forget earlier arrivals: the next packet comes after silence. */
  forgetArrivals() {
    this.arrivals.reset();
  }
  /** Forget earlier depths of the buffer: the sound was interrupted. */
  forgetDepths() {
    this.depth.reset();
  }
  /** How late a tile is at that time, compared with the earliest. */
  latenessS(firstFrame, atS) {
    return atS - firstFrame * this.frameS - this.arrivals.baseS;
  }
  /** How much sound should be waiting now that a tile which begins at `firstFrame` is opened. */
  dueS(firstFrame, nowS) {
    return this.depthS - this.latenessS(firstFrame, nowS);
  }
  /** How many tiles the buffer has room for, with a surplus that can be caught up with soon. */
  roomTiles(bufferedS) {
    const roomS = this.depthS + this.tileS + Math.max(this.tileS, CATCH_UP_S) - bufferedS;
    return Math.max(0, Math.floor(roomS / this.tileS));
  }
  /**
   * Make a tile shorter or longer where the buffer is too deep or too shallow; `before` is the frame spoken last.
   * Quiet frames are changed sooner than speech, and a shallow buffer is filled sooner than a deep one is emptied. What
   * is less than a frame should be put into the samples: `spliceS`, left out of them where negative.
   */
  pushFrames(before, logMel, surplusS, isQuiet) {
    const usualS = this.depth.push(surplusS + this.depthS) - this.depthS;
    const aboveFrames = isQuiet ? TOLERANCE_FRAMES : TOLERANCE_IN_SPEECH_FRAMES;
    if (usualS >= -TOLERANCE_BELOW_FRAMES * this.frameS && usualS < aboveFrames * this.frameS) {
      const isKept = Math.abs(usualS) <= TOLERANCE_OF_SPLICING_FRAMES * this.frameS;
      return { frames: logMel, spliceS: isKept ? 0 : -usualS };
    }
    const changeFrames = -(roundHalfToEven(usualS / this.frameS) || -1);
    const frames = this.stretcher.push(before, logMel, changeFrames);
    this.depth.adjust((frames.length - logMel.length) * this.frameS);
    return { frames, spliceS: 0 };
  }
  /** Record that so much sound was put in or, where negative, left out. */
  spliced(changeS) {
    this.depth.adjust(changeS);
    this.splicedOutS += Math.max(0, -changeS);
    this.splicedInS += Math.max(0, changeS);
  }
};

// src/address.ts
var MAX_BUFFER_MS = 2e3;
function readAddress(hash) {
  const parts = new URLSearchParams(hash.slice(1));
  const bufferMs = Number(parts.get("buffer") || Number.NaN);
  const isBuffer = bufferMs >= 0 && bufferMs <= MAX_BUFFER_MS;
  return {
    room: parts.get("room") ?? "",
    token: parts.get("token") ?? "",
    minBufferS: isBuffer ? bufferMs / 1e3 : BROWSER_PLAYOUT.minS
  };
}
function writeAddress({ room, token, minBufferS }) {
  const parts = new URLSearchParams({ room });
  if (token) parts.set("token", token);
  if (minBufferS !== BROWSER_PLAYOUT.minS) parts.set("buffer", String(Math.round(minBufferS * 1e3)));
  return `#${parts}`;
}

// src/awake.ts
var LONGEST_STEP_S = 1;
var AwakeClock = class {
  constructor(clockS) {
    this.clockS = clockS;
    this.readS = clockS();
  }
  clockS;
  awakeS = 0;
  readS;
  nowS() {
    const nowS = this.clockS();
    this.awakeS += Math.min(nowS - this.readS, LONGEST_STEP_S);
    this.readS = nowS;
    return this.awakeS;
  }
};

// src/errors.ts
var WireError = class extends Error {
};
var TileError = class extends Error {
};

// src/config.ts
var RATE_HZ = 16e3;
var MAX_TILE_FRAMES = 64;
var MAX_REDUNDANCY = 8;
var USUAL_MEL = {
  rate_hz: RATE_HZ,
  n_fft: 1024,
  hop_samples: 256,
  n_mels: 80,
  fmin_hz: 80,
  fmax_hz: 7600,
  floor: 1e-10
};
var USUAL_TILE = { frames: 8, log10_min: -5.5, log10_max: 1 };
var INTEGERS = /* @__PURE__ */ new Set(["rate_hz", "n_fft", "hop_samples", "n_mels", "frames"]);
function numbersOf(name, values, keys) {
  const given = values;
  if (Object.keys(given).length !== keys.length || !keys.every((key) => key in given)) {
    throw new WireError(`the stream's settings make no sense: ${name} needs exactly the keys ${keys.join(", ")}`);
  }
  for (const key of keys) {
    const value = given[key];
    const isNumber = typeof value === "number" && (!INTEGERS.has(key) || Number.isInteger(value) || value === Infinity);
    if (!isNumber) throw new WireError(`the stream's settings make no sense: ${name}.${key} must be a number`);
    if (!INTEGERS.has(key) && !Number.isFinite(value)) {
      throw new WireError(`the stream's settings make no sense: ${name}.${key} is too large a number`);
    }
  }
  return Object.fromEntries(keys.map((key) => [key, given[key]]));
}
function require2(holds, sentence) {
  if (!holds) throw new WireError(`the stream's settings make no sense: ${sentence}`);
}
function melOf(values) {
  const mel = numbersOf("MelConfig", values, Object.keys(USUAL_MEL));
  require2(mel.rate_hz >= 4e3 && mel.rate_hz <= 192e3, "rate_hz must be 4000 to 192000");
  require2(mel.n_fft >= 64 && mel.n_fft <= 8192 && mel.n_fft % 2 === 0, "n_fft must be an even number from 64 to 8192");
  const divides = mel.hop_samples >= 16 && mel.hop_samples <= mel.n_fft && mel.n_fft % mel.hop_samples === 0;
  require2(divides, "hop_samples must divide n_fft and be at least 16");
  require2(mel.n_mels >= 8 && mel.n_mels <= 256, "n_mels must be 8 to 256");
  const isWithin = mel.fmin_hz >= 0 && mel.fmin_hz < mel.fmax_hz && mel.fmax_hz <= mel.rate_hz / 2;
  require2(isWithin, "mel bands must lie within 0 and half the rate");
  require2(mel.floor > 0 && mel.floor < 1, "floor must lie between 0 and 1");
  return mel;
}
function tileOf(values) {
  const tile = numbersOf("TileConfig", values, ["frames", "log10_min", "log10_max"]);
  require2(tile.frames >= 2 && tile.frames <= MAX_TILE_FRAMES, "a tile holds 2 to 64 frames");
  const isRange = tile.log10_min >= -20 && tile.log10_min < tile.log10_max && tile.log10_max <= 10;
  require2(isRange, "the value range must lie within -20..10");
  return tile;
}
function frameS(mel) {
  return mel.hop_samples / mel.rate_hz;
}
function isUsual(mel) {
  return Object.keys(USUAL_MEL).every((key) => mel[key] === USUAL_MEL[key]);
}

// src/features.ts
var LINEAR_HZ = 1e3;
var LINEAR_MELS = 15;
var LOG_STEP = Math.log(6.4) / 27;
function toMel(hz) {
  return hz < LINEAR_HZ ? 3 * hz / 200 : LINEAR_MELS + Math.log(hz / LINEAR_HZ) / LOG_STEP;
}
function toHz(mel) {
  return mel < LINEAR_MELS ? 200 * mel / 3 : LINEAR_HZ * Math.exp(LOG_STEP * (mel - LINEAR_MELS));
}
function bandAt(hz, mel) {
  const [low, high] = [toMel(mel.fmin_hz), toMel(mel.fmax_hz)];
  return (toMel(hz) - low) / (high - low) * (mel.n_mels + 1) - 1;
}
function melFilters(mel) {
  const [low, high] = [toMel(mel.fmin_hz), toMel(mel.fmax_hz)];
  const edge = (i) => toHz(low + (high - low) * i / (mel.n_mels + 1));
  const binHz = mel.rate_hz / mel.n_fft;
  return Array.from({ length: mel.n_mels }, (_, band) => {
    const [left, centre, right] = [edge(band), edge(band + 1), edge(band + 2)];
    const first = Math.floor(left / binHz) + 1;
    const count = Math.max(0, Math.ceil(right / binHz) - first);
    const weights = new Float64Array(count).map((_2, i) => {
      const hz = (first + i) * binHz;
      return Math.max(0, Math.min((hz - left) / (centre - left), (right - hz) / (right - centre))) * 2 / (right - left);
    });
    return { first, weights };
  });
}
function fft(re, im) {
  const size = re.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let span = 2; span <= size; span *= 2) {
    const half = span / 2;
    for (let k = 0; k < half; k++) {
      const [cos, sin] = [Math.cos(-2 * Math.PI * k / span), Math.sin(-2 * Math.PI * k / span)];
      for (let a = k; a < size; a += span) {
        const b = a + half;
        const [x, y] = [re[b] * cos - im[b] * sin, re[b] * sin + im[b] * cos];
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}
function normal() {
  let state = 1;
  const uniform = () => {
    state = state + 1831565813 | 0;
    let t = Math.imul(state ^ state >>> 15, 1 | state);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
var LogMelStream = class {
  constructor(mel) {
    this.mel = mel;
    this.pending = new Float64Array(mel.n_fft / 2);
    this.window = new Float64Array(mel.n_fft).map((_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / mel.n_fft));
    this.filters = melFilters(mel);
  }
  mel;
  pending;
  window;
  filters;
  push(samples) {
    const { n_fft, hop_samples } = this.mel;
    const all = new Float64Array(this.pending.length + samples.length);
    all.set(this.pending);
    all.set(samples, this.pending.length);
    const frames = [];
    let at = 0;
    for (; at + n_fft <= all.length; at += hop_samples) frames.push(this.frame(all.subarray(at, at + n_fft)));
    this.pending = all.slice(at);
    return frames;
  }
  /** The last frames, whose windows reach beyond the end into silence. */
  flush() {
    return this.push(new Float64Array(this.mel.n_fft / 2));
  }
  frame(samples) {
    const re = samples.map((x, i) => x * this.window[i]);
    const im = new Float64Array(samples.length);
    fft(re, im);
    return Float32Array.from(this.filters, ({ first, weights }) => {
      const sum = weights.reduce((sum2, weight, i) => sum2 + weight * Math.hypot(re[first + i], im[first + i]), 0);
      return Math.log10(Math.max(sum, this.mel.floor));
    });
  }
};
function naturalFluctuation(mel, count) {
  const edge = mel.n_fft / mel.hop_samples;
  const noise = new Float64Array((count + edge) * mel.hop_samples + mel.n_fft).map(normal());
  const frames = new LogMelStream(mel).push(noise).slice(edge, edge + count);
  for (let band = 0; band < mel.n_mels; band++) {
    const mean2 = frames.reduce((sum, frame) => sum + frame[band], 0) / count;
    for (const frame of frames) frame[band] -= mean2;
  }
  return frames;
}

// src/noise.ts
var QUIET_LOG10 = -3;
var WINDOW_S2 = 1.5;
var WINDOW_BLOCKS = 6;
var SMOOTHING_S = 0.06;
var AVERAGE_S = 0.3;
var NEAR_LOG10 = 0.4;
var RISE_LOG10_PER_S = 0.15;
var NEIGHBOURS = 2;
var NATURAL_NOISE_FRAMES = 256;
var FloorTracker = class {
  constructor(mel) {
    this.mel = mel;
    this.floor = new Float32Array(mel.n_mels).fill(QUIET_LOG10);
    this.minimum = this.floor.slice();
    this.smoothed = new Float32Array(mel.n_mels);
    this.block = new Float32Array(mel.n_mels).fill(Infinity);
  }
  mel;
  floor;
  smoothed;
  minimum;
  block;
  blocks = [];
  frames = 0;
  push(logMel) {
    for (const frame of logMel) this.pushFrame(frame);
  }
  pushFrame(frame) {
    const dt = frameS(this.mel);
    const smoothing = 1 - Math.exp(-dt / SMOOTHING_S);
    const averaging = 1 - Math.exp(-dt / AVERAGE_S);
    for (let band = 0; band < this.mel.n_mels; band++) {
      const around = frame.subarray(Math.max(0, band - NEIGHBOURS), band + NEIGHBOURS + 1);
      const level = around.reduce((sum, x) => sum + x, 0) / around.length;
      this.smoothed[band] += (this.frames ? smoothing : 1) * (level - this.smoothed[band]);
      this.block[band] = Math.min(this.block[band], this.smoothed[band]);
      const window = Math.min(this.block[band], ...this.blocks.map((block) => block[band]));
      this.minimum[band] = Math.min(window, Math.max(this.minimum[band], QUIET_LOG10) + RISE_LOG10_PER_S * dt);
      const isNear = this.smoothed[band] < this.minimum[band] + NEAR_LOG10;
      const mean2 = isNear ? this.floor[band] + averaging * (frame[band] - this.floor[band]) : this.floor[band];
      this.floor[band] = Math.min(Math.max(mean2, this.minimum[band]), this.minimum[band] + NEAR_LOG10);
    }
    this.frames++;
    if (this.frames % Math.max(1, Math.round(WINDOW_S2 / WINDOW_BLOCKS / dt)) === 0) {
      this.blocks = [...this.blocks, this.block].slice(-WINDOW_BLOCKS);
      this.block = new Float32Array(this.mel.n_mels).fill(Infinity);
    }
  }
};
function fromPixel(pixel, tile) {
  return tile.log10_min + pixel * (tile.log10_max - tile.log10_min) / 255;
}
function noiseEnvelope(levels, nMels, tile) {
  const groups = levels.length;
  const lines = Array.from(
    { length: groups },
    (_, point) => Float64Array.from({ length: nMels }, (_2, band) => {
      const place = Math.min(Math.max((band + 0.5) * groups / nMels - 0.5, 0), groups - 1);
      return Math.max(0, 1 - Math.abs(place - point));
    })
  );
  const groupOf = (band) => Math.floor(band * groups / nMels);
  const means = lines[0].map(() => 0).slice(0, groups);
  const system = Array.from(means, (_, group) => {
    const bands = [...Array(nMels).keys()].filter((band) => groupOf(band) === group);
    const row = lines.map((line) => bands.reduce((sum, band) => sum + line[band], 0) / bands.length);
    return [...row, fromPixel(levels[group], tile)];
  });
  const points = solve(system);
  return Float32Array.from({ length: nMels }, (_, band) => {
    const value = points.reduce((sum, point, i) => sum + point * lines[i][band], 0);
    return Math.min(Math.max(value, tile.log10_min), tile.log10_max);
  });
}
function solve(rows) {
  for (let i = 0; i < rows.length; i++) {
    rows[i] = rows[i].map((x) => x / rows[i][i]);
    for (let j = 0; j < rows.length; j++) {
      const factor = rows[j][i];
      if (j !== i) rows[j] = rows[j].map((x, k) => x - factor * rows[i][k]);
    }
  }
  return rows.map((row) => row[rows.length]);
}
var known = null;
var NoiseSource = class {
  fluctuation;
  at = 0;
  constructor(mel) {
    if (known?.mel !== mel) known = { mel, frames: naturalFluctuation(mel, NATURAL_NOISE_FRAMES) };
    this.fluctuation = known.frames;
  }
  frames(envelope, count) {
    return Array.from({ length: count }, () => {
      const fluctuation = this.fluctuation[this.at++ % NATURAL_NOISE_FRAMES];
      return envelope.map((x, band) => x + fluctuation[band]);
    });
  }
};

// src/background.ts
var QUIET_LOG102 = 0.5;
var Background = class {
  constructor(mel, tile) {
    this.mel = mel;
    this.tile = tile;
    this.tracker = new FloorTracker(mel);
    this.noise = new NoiseSource(mel);
    this.fadingFrame = new Float32Array(mel.n_mels).fill(tile.log10_min);
  }
  mel;
  tile;
  pause = null;
  concealedFrames = 0;
  noiseFrames = 0;
  /** Tests replace it by one that does not fluctuate. */
  noise;
  tracker;
  fadingFrame;
  /** The background's levels. */
  get floor() {
    return this.pause?.envelope ?? this.tracker.floor;
  }
  /** Take the frames of a tile; it ends the pause. */
  push(logMel) {
    this.tracker.push(logMel);
    this.fadingFrame = logMel[logMel.length - 1];
    this.pause = null;
  }
  /** Whether frames are close to the background. */
  isQuiet(logMel) {
    return Math.max(...logMel.map(mean)) < mean(this.floor) + QUIET_LOG102;
  }
  /** Conceal a short gap by frames that lead from one frame to another. */
  interpolate(before, after, count) {
    this.concealedFrames += count;
    return interpolate(before, after, count);
  }
  /** Make frames: the pause's noise, or concealment. */
  frames(count) {
    if (this.pause) this.noiseFrames += count;
    else this.concealedFrames += count;
    const floor = this.floor;
    const fading = decay(this.fadingFrame, floor, count, frameS(this.mel));
    this.fadingFrame = fading[count - 1];
    const frames = overNoise(fading, floor, this.noise.frames(floor, count));
    return frames.map((frame) => frame.map((x) => Math.max(x, this.tile.log10_min)));
  }
};
function mean(frame) {
  return frame.reduce((sum, x) => sum + x, 0) / frame.length;
}

// src/call_state.ts
var callRooms = (name) => [`${name}.1`, `${name}.2`];
function otherRoom(name, own) {
  const [first, second] = callRooms(name);
  return own === first ? second : first;
}
var CallState = class {
  constructor(name) {
    this.name = name;
  }
  name;
  own = { state: "trying", detail: "" };
  other = null;
  wasHeard = false;
  /** Take the state of the direction to the other end. */
  speak(state, detail) {
    this.own = { state, detail };
  }
  /** Take the state of the direction from the other end. */
  hear(state, detail) {
    this.other = { state, detail };
    if (state === "playing") this.wasHeard = true;
    else if (state === "ended") this.wasHeard = false;
  }
  /** Whether to begin to listen: this end publishes, and nothing was heard of the other direction. */
  get mayListen() {
    return this.own.state === "playing" && !this.other;
  }
  get presence() {
    const states = [this.own.state, this.other?.state];
    const is = (...wanted) => states.some((state) => state && wanted.includes(state));
    if (is("taken", "failed")) return "over";
    if (is("lost", "refused")) return "reconnecting";
    if (this.own.state !== "playing" || !this.other || is("trying", "connecting")) return this.wasHeard ? "reconnecting" : "beginning";
    if (is("ended")) return "hung up";
    if (is("waiting")) return this.wasHeard ? "gone" : "waiting";
    return "connected";
  }
  /** Whether the user should know of a problem. */
  get isProblem() {
    return ["gone", "reconnecting", "over"].includes(this.presence);
  }
  get sentence() {
    const isWrong = ({ state }) => ["failed", "taken", "lost", "refused"].includes(state);
    const wrong = [this.own, this.other].find((side) => side && isWrong(side));
    const words = {
      beginning: this.own.state === "trying" ? "Getting ready \u2026" : `Connecting to ${this.name} \u2026`,
      waiting: `Waiting for the other end: open the link of ${this.name} there.`,
      connected: "Connected.",
      gone: "The other end has left without hanging up, or has lost its connection. Waiting for it \u2026",
      "hung up": "The other end has hung up. Waiting for the next call.",
      reconnecting: wrong?.detail ?? "Connecting again \u2026",
      over: this.own.state === "taken" ? `The call ${this.name} is full: two others are in it.` : wrong?.detail ?? ""
    };
    return words[this.presence];
  }
};

// src/container.ts
var SEQUENCE_HEADER = 1;
var TEMPORAL_DELIMITER = 2;
var FRAME = 6;
var HAS_SIZE = 2;
var ALLOWED_PROPERTIES = /* @__PURE__ */ new Set(["ispe", "pixi", "av1C", "colr"]);
var Bytes = class {
  constructor(data) {
    this.data = data;
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }
  data;
  view;
  check(at, size) {
    if (at + size > this.data.length) throw new TileError("the AVIF still is truncated");
  }
  u8(at) {
    this.check(at, 1);
    return this.data[at];
  }
  u16(at) {
    this.check(at, 2);
    return this.view.getUint16(at);
  }
  u32(at) {
    this.check(at, 4);
    return this.view.getUint32(at);
  }
  text(at) {
    this.check(at, 4);
    return String.fromCharCode(...this.data.subarray(at, at + 4));
  }
  /** The boxes between two offsets; each must have a size and fit. */
  boxes(start, end) {
    const found = [];
    for (let at = start; at < end; ) {
      const size = this.u32(at);
      const kind = this.text(at + 4);
      if (size < 8 || at + size > end) throw new TileError("a box of the AVIF still does not fit in its file");
      found.push({ kind, at: at + 8, end: at + size });
      at += size;
    }
    return found;
  }
};
function inspectStill(still) {
  const bytes = new Bytes(still);
  const boxes = bytes.boxes(0, still.length);
  if (boxes.map((box) => box.kind).join() !== "ftyp,meta,mdat") {
    throw new TileError("not an AVIF still of ftyp, meta and mdat boxes");
  }
  const [ftyp, meta, mdat] = boxes;
  if (bytes.text(ftyp.at) !== "avif") throw new TileError("the file's brand is not avif");
  const { ilocLengthAt, promised } = readMeta(bytes, meta, mdat);
  const { sequenceHeader, frameAt, frameBodyAt } = readUnits(bytes, mdat);
  const picture = readSequenceHeader(sequenceHeader);
  if (picture.width !== promised.width || picture.height !== promised.height) {
    throw new TileError("the still declares another size than its bitstream holds");
  }
  return { ...picture, ilocLengthAt, mdatSizeAt: mdat.at - 8, frameAt, frameBodyAt };
}
function readMeta(bytes, meta, mdat) {
  const children = new Map(bytes.boxes(meta.at + 4, meta.end).map((box) => [box.kind, box]));
  const [iloc, iinf, iprp] = ["iloc", "iinf", "iprp"].map((kind) => children.get(kind));
  if (!iloc || !iinf || !iprp) throw new TileError("the AVIF still lacks a pitm, iloc or iprp box");
  const items = bytes.boxes(iinf.at + 6, iinf.end);
  const isOne = bytes.u32(iinf.at) === 0 && bytes.u16(iinf.at + 4) === 1 && items.length === 1;
  if (!isOne || bytes.text(items[0].at + 8) !== "av01") {
    throw new TileError("the AVIF file does not hold exactly one AV1 picture");
  }
  const isUsual2 = bytes.u32(iloc.at) === 0 && bytes.u16(iloc.at + 4) === 17408 && bytes.u16(iloc.at + 6) === 1 && bytes.u16(iloc.at + 10) === 0 && bytes.u16(iloc.at + 12) === 1;
  if (!isUsual2) throw new TileError("the AVIF still has an unsupported layout");
  const offset = bytes.u32(iloc.at + 14);
  if (offset !== mdat.at || offset + bytes.u32(iloc.at + 18) !== mdat.end) {
    throw new TileError("the AVIF still's picture does not fill its mdat box");
  }
  const properties = bytes.boxes(iprp.at, iprp.end).filter((box) => box.kind === "ipco").flatMap((box) => bytes.boxes(box.at, box.end));
  if (!properties.every((box) => ALLOWED_PROPERTIES.has(box.kind))) {
    throw new TileError("the AVIF still has a transformation");
  }
  const sizes = properties.filter((box) => box.kind === "ispe");
  if (sizes.length !== 1) throw new TileError("the AVIF still does not declare exactly one size");
  const promised = { width: bytes.u32(sizes[0].at + 4), height: bytes.u32(sizes[0].at + 8) };
  return { ilocLengthAt: iloc.at + 18, promised };
}
function readUnits(bytes, mdat) {
  let sequenceHeader = null;
  for (let at = mdat.at; at < mdat.end; ) {
    const unitAt = at;
    const header = bytes.u8(at++);
    const kind = header >> 3 & 15;
    if ((header & ~120) !== HAS_SIZE) throw new TileError("an AV1 unit of the still has no size or carries an extension");
    let size = 0;
    for (let i = 0; ; i++) {
      if (i === 4) throw new TileError("an AV1 unit of the still is too long");
      if (at >= mdat.end) throw new TileError("the AVIF still is truncated");
      const byte = bytes.u8(at++);
      size += (byte & 127) * 2 ** (7 * i);
      if (!(byte & 128)) break;
    }
    if (at + size > mdat.end) throw new TileError("an AV1 unit of the still does not fit in its file");
    if (kind === SEQUENCE_HEADER && !sequenceHeader) sequenceHeader = bytes.data.subarray(at, at + size);
    else if (kind === FRAME && sequenceHeader && at + size === mdat.end) {
      return { sequenceHeader, frameAt: unitAt, frameBodyAt: at };
    } else if (kind !== TEMPORAL_DELIMITER || size) {
      throw new TileError("the still's bitstream does not hold exactly one sequence header and one frame");
    }
    at += size;
  }
  throw new TileError("the still's bitstream holds no frame");
}
function readSequenceHeader(body) {
  let at = 0;
  const take = (count) => {
    let value = 0;
    for (; count > 0; count--, at++) {
      if (at >= 8 * body.length) throw new TileError("the AV1 sequence header is truncated");
      value = value * 2 + (body[at >> 3] >> 7 - (at & 7) & 1);
    }
    return value;
  };
  const profile = take(3);
  take(1);
  if (!take(1)) throw new TileError("the picture is not coded as a still");
  take(5);
  const widthBits = take(4) + 1;
  const heightBits = take(4) + 1;
  const width = take(widthBits) + 1;
  const height = take(heightBits) + 1;
  take(6);
  const isHigh = take(1);
  const bitDepth = 8 + 2 * isHigh + (profile === 2 && isHigh ? 2 * take(1) : 0);
  return { width, height, bitDepth, isMonochrome: profile !== 1 && take(1) === 1 };
}
var MAX_FRAME_HEADERS = 128;
var StillTemplate = class _StillTemplate {
  constructor(prefix, ilocLengthAt, mdatSizeAt, frameHeaders = []) {
    this.prefix = prefix;
    this.ilocLengthAt = ilocLengthAt;
    this.mdatSizeAt = mdatSizeAt;
    this.frameHeaders = frameHeaders;
  }
  prefix;
  ilocLengthAt;
  mdatSizeAt;
  frameHeaders;
  /** Take the template from a still. Throws TileError for any other file. */
  static of(still) {
    const { frameAt, ilocLengthAt, mdatSizeAt } = inspectStill(still);
    const prefix = still.slice(0, frameAt);
    const view = new DataView(prefix.buffer);
    for (const at of [ilocLengthAt, mdatSizeAt]) view.setUint32(at, view.getUint32(at) + frameAt - still.length);
    return new _StillTemplate(prefix, ilocLengthAt, mdatSizeAt);
  }
  /** The body from which `rebuild` restores this still byte for byte, or null where it cannot. */
  strip(still) {
    const body = still.subarray(inspectStill(still).frameBodyAt);
    const again = this.rebuild(body);
    return again.length === still.length && again.every((byte, i) => byte === still[i]) ? body : null;
  }
  /** The number of the frame header that a body begins with, and the rest of it; null and all of it where none fits. */
  shorten(body) {
    const fits = (header2) => header2.length < body.length && header2.every((byte, i) => byte === body[i]);
    const header = this.frameHeaders.findIndex(fits);
    return header < 0 ? { header: null, payload: body } : { header, payload: body.subarray(this.frameHeaders[header].length) };
  }
  /** The whole AVIF still around a frame unit's body, or around what follows its frame header of that number. */
  rebuild(payload, header = null) {
    const body = header === null ? payload : Uint8Array.of(...this.frameHeaders[header], ...payload);
    const frame = [FRAME << 3 | HAS_SIZE];
    let length = body.length;
    for (; length > 127; length >>= 7) frame.push(length & 127 | 128);
    frame.push(length);
    const still = new Uint8Array(this.prefix.length + frame.length + body.length);
    still.set(this.prefix);
    still.set(frame, this.prefix.length);
    still.set(body, this.prefix.length + frame.length);
    const view = new DataView(still.buffer);
    for (const at of [this.ilocLengthAt, this.mdatSizeAt]) {
      view.setUint32(at, view.getUint32(at) + frame.length + body.length);
    }
    return still;
  }
};

// src/counters.ts
var SPAN = 2 ** 16;
var MAX_COUNT = 2 ** 40;
var short = (number) => number % SPAN;
function extended(low, near) {
  const ahead = ((low - near) % SPAN + SPAN + SPAN / 2) % SPAN;
  const number = near + ahead - SPAN / 2;
  return number >= 0 ? number : number + SPAN;
}
var Counters = class {
  sequence = 0;
  firstFrame = 0;
  /** A packet's whole numbers, given what its message carries of them. */
  extend(sequence, firstFrame) {
    return { sequence: extended(sequence, this.sequence), firstFrame: extended(firstFrame, this.firstFrame) };
  }
  /** Whether `extend` finds these numbers; else a place must be sent before their packet. */
  reaches(sequence, firstFrame) {
    const found = this.extend(short(sequence), short(firstFrame));
    return found.sequence === sequence && found.firstFrame === firstFrame;
  }
  /** Take note of a packet; reordered ones and copies do not move it back. */
  advance(sequence, firstFrame) {
    if (sequence >= this.sequence) this.moveTo(sequence, firstFrame);
  }
  moveTo(sequence, firstFrame) {
    this.sequence = sequence;
    this.firstFrame = firstFrame;
  }
};

// src/wire.ts
var SUBPROTOCOL = "audio-avif.v2";
var VERSION = 2;
var MAX_MESSAGE_BYTES = 65536;
var NOISE_LEVELS = 8;
var TILE = 2;
var STILL = 3;
var PAUSE = 6;
var BUNDLE = 7;
var SHORT_TILE = 128;
var COPY_HEAD_BYTES = 6;
var MAX_SAMPLES = 2 ** 53;
var MAX_CLOCK_US = 2n ** 62n;
var MAX_LATENCY_SAMPLES = 2 ** 24;
var CLOSE = { protocol: 4e3, busy: 4002, unauthorized: 4005, unknownRoom: 4006 };
var Reader = class {
  constructor(data) {
    this.data = data;
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }
  data;
  at = 1;
  view;
  get name() {
    return `a message of type 0x${this.data[0].toString(16).padStart(2, "0")}`;
  }
  take(size) {
    const at = this.at;
    this.at += size;
    if (this.at > this.data.length) throw new WireError(`${this.name} is truncated: ${this.data.length} bytes`);
    return at;
  }
  u8 = () => this.view.getUint8(this.take(1));
  u16 = () => this.view.getUint16(this.take(2));
  u32 = () => this.view.getUint32(this.take(4));
  u64 = () => this.view.getBigUint64(this.take(8));
  i64 = () => this.view.getBigInt64(this.take(8));
  bytes(size) {
    const at = this.take(size);
    return this.data.subarray(at, at + size);
  }
  rest() {
    return this.data.subarray(this.at);
  }
  end() {
    if (this.at < this.data.length) {
      throw new WireError(`${this.name} is ${this.data.length} bytes, longer than its kind`);
    }
  }
};
var isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
function jsonOf(data, types) {
  let values;
  try {
    values = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch {
    throw new WireError("a message holds JSON that cannot be read");
  }
  if (!isObject(values)) throw new WireError("a message holds JSON that is not an object");
  for (const [key, type] of Object.entries(types)) {
    const value = values[key];
    const fits = type === "object" ? isObject(value) : typeof value === type;
    const isWhole = typeof value !== "number" || Number.isInteger(value) || Math.abs(value) === Infinity;
    if (!fits || !isWhole) {
      const name = { boolean: "bool", string: "str", object: "dict", number: "int" }[type];
      throw new WireError(`a message's '${key}' is missing or not of type ${name}`);
    }
  }
  return values;
}
function label(text) {
  return Array.from(text).slice(0, 64).join("").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "");
}
function parseHello(data) {
  const reader = new Reader(data);
  const version = reader.u8();
  const jsonBytes = reader.u16();
  if (version !== VERSION) {
    throw new WireError(`the peer speaks version ${version} of the protocol; this page speaks ${VERSION}`);
  }
  const text = data.subarray(4, 4 + jsonBytes);
  const rest = data.subarray(4 + jsonBytes);
  const values = jsonOf(text, {
    mel: "object",
    tile: "object",
    session: "string",
    live: "boolean",
    report: "boolean",
    agent: "string"
  });
  const mel = melOf(values.mel);
  const tile = tileOf(values.tile);
  const template = parseTemplate(rest);
  checkTemplate(template, tile.frames, mel.n_mels);
  const { live, report } = values;
  return { kind: "hello", mel, tile, template, session: label(values.session), live, report, agent: label(values.agent) };
}
function parseTemplate(data) {
  if (data.length < 6) throw new WireError("the hello message ends before its template");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const [count, size] = [data[4], data[5]];
  if (count > MAX_FRAME_HEADERS || count > 0 !== size > 0) {
    throw new WireError(`the hello message has ${count} frame headers of ${size} bytes, which cannot be`);
  }
  const prefixAt = 6 + count * size;
  if (data.length < prefixAt) throw new WireError("the hello message ends within its frame headers");
  const headers = Array.from({ length: count }, (_, i) => data.slice(6 + i * size, 6 + (i + 1) * size));
  return new StillTemplate(data.slice(prefixAt), view.getUint16(0), view.getUint16(2), headers);
}
function checkTemplate(template, width, height) {
  if (Math.max(template.ilocLengthAt, template.mdatSizeAt) + 4 > template.prefix.length) {
    throw new WireError("the template's length fields lie outside it");
  }
  let layout;
  try {
    layout = inspectStill(template.rebuild(new Uint8Array(1)));
  } catch (error) {
    if (error instanceof TileError) throw new WireError(`the template is no AVIF still: ${error.message}`);
    throw error;
  }
  const isWhereSaid = layout.ilocLengthAt === template.ilocLengthAt && layout.mdatSizeAt === template.mdatSizeAt && layout.frameAt === template.prefix.length;
  if (!isWhereSaid) throw new WireError("the template's fields are not where the hello message says");
  if (layout.width !== width || layout.height !== height || layout.bitDepth !== 8 || !layout.isMonochrome) {
    throw new WireError(
      `the template is of ${layout.width}x${layout.height} pixels at ${layout.bitDepth} bit, not ${width}x${height} monochrome at 8 bit as the hello message says`
    );
  }
}
var isTile = (kind) => kind >= SHORT_TILE || kind === TILE || kind === STILL;
function tileWith(kind, sequence, firstFrame, content, hello) {
  const header = kind >= SHORT_TILE ? kind - SHORT_TILE : null;
  if (header !== null && header >= hello.template.frameHeaders.length) {
    throw new WireError(`tile ${sequence} begins with frame header ${header}, which the hello lacks`);
  }
  const frames = header === null ? content.length && content[0] : hello.tile.frames;
  const payload = header === null ? content.subarray(1) : content;
  if (!payload.length || frames < 1 || frames > MAX_TILE_FRAMES) throw new WireError(`tile ${sequence} is empty`);
  return { kind: "tile", sequence, firstFrame, frames, payload, isWholeStill: kind === STILL, header };
}
function parseTile(data, { hello, counters }) {
  const reader = new Reader(data);
  const { sequence, firstFrame } = counters.extend(reader.u16(), reader.u16());
  return tileWith(data[0], sequence, firstFrame, reader.rest(), hello);
}
function parsePause(data, { counters }) {
  const reader = new Reader(data);
  const { sequence, firstFrame } = counters.extend(reader.u16(), reader.u16());
  const frames = reader.u8();
  const levels = reader.bytes(NOISE_LEVELS);
  reader.end();
  if (frames < 1 || frames > MAX_TILE_FRAMES) throw new WireError(`pause ${sequence} is empty`);
  return { kind: "pause", sequence, firstFrame, frames, levels };
}
function parseBundle(data, context) {
  const reader = new Reader(data);
  const count = reader.u8();
  if (count < 1 || count > MAX_REDUNDANCY) throw new WireError("a bundle has too few or too many copies");
  const tileAt = 2 + count * COPY_HEAD_BYTES;
  if (data.length <= tileAt) throw new WireError("a bundle's parts do not fill it");
  const heads = Array.from({ length: count }, () => ({
    kind: reader.u8(),
    before: reader.u8(),
    framesBefore: reader.u16(),
    size: reader.u16()
  }));
  let at = data.length - heads.reduce((sum, head) => sum + head.size, 0);
  if (at <= tileAt) throw new WireError("a bundle's parts do not fill it");
  const first = data.subarray(tileAt, at);
  if (first[0] !== PAUSE && !isTile(first[0])) throw new WireError("a bundle's first part is neither tile nor pause");
  if (!heads.every((head) => isTile(head.kind))) throw new WireError("a bundle's copies are not all tiles");
  const tile = first[0] === PAUSE ? parsePause(first, context) : parseTile(first, context);
  let { sequence, firstFrame } = tile;
  const copies = heads.map(({ kind, before, framesBefore, size }) => {
    sequence -= before;
    firstFrame -= framesBefore;
    if (!before || !framesBefore || sequence < 0 || firstFrame < 0) {
      throw new WireError(`the copies beside tile ${tile.sequence} are not older than it, newest first`);
    }
    at += size;
    return tileWith(kind, sequence, firstFrame, data.subarray(at - size, at), context.hello);
  });
  return { kind: "bundle", tile, copies };
}
function parsePlace(data) {
  const reader = new Reader(data);
  const [sequence, firstFrame] = [reader.u64(), reader.u64()].map(Number);
  reader.end();
  if (Math.max(sequence, firstFrame) > MAX_COUNT) throw new WireError("the stream claims to be longer than can be");
  return { kind: "place", sequence, firstFrame };
}
function parseBye(data) {
  const reader = new Reader(data);
  const [tiles, samples] = [reader.u64(), reader.u64()].map(Number);
  reader.end();
  if (samples > MAX_SAMPLES || tiles > MAX_COUNT) throw new WireError("the stream claims more samples than can be");
  return { kind: "bye", tiles, samples };
}
function parsePing(data) {
  const reader = new Reader(data);
  const [sentUs, sampleZeroUs, receiverAheadUs] = [reader.u64(), reader.i64(), reader.i64()].map(Number);
  reader.end();
  return { kind: "ping", sentUs, sampleZeroUs, receiverAheadUs };
}
function parseGap(data) {
  const reader = new Reader(data);
  const messages = reader.u32();
  reader.end();
  return { kind: "gap", messages };
}
function parsePong(data) {
  const reader = new Reader(data);
  const [pingSentUs, receiverUs] = [reader.u64(), reader.u64()];
  reader.end();
  if (pingSentUs > MAX_CLOCK_US || receiverUs > MAX_CLOCK_US) {
    throw new WireError("the receiver's clock shows a time that cannot be");
  }
  return { kind: "pong", pingSentUs: Number(pingSentUs), receiverUs: Number(receiverUs) };
}
function parseWelcome(data) {
  const values = jsonOf(data.subarray(1), {
    vocoder: "string",
    vocoder_latency_samples: "number",
    agent: "string",
    received: "number"
  });
  const { vocoder_latency_samples: latency, received } = values;
  if (latency < 0 || latency > MAX_LATENCY_SAMPLES) {
    throw new WireError("the receiver's vocoder claims a delay that cannot be");
  }
  if (received < -1 || received > MAX_COUNT) throw new WireError("the receiver claims to have a tile that cannot be");
  const names = { vocoder: label(values.vocoder), agent: label(values.agent) };
  return { kind: "welcome", ...names, vocoderLatencySamples: latency, received };
}
function parseReport(data, near) {
  const reader = new Reader(data);
  const sequence = extended(reader.u16(), near);
  const [firstSample, receivedUs] = [reader.u64(), reader.u64()].map(Number);
  const durationsUs = [reader.u32(), reader.u32(), reader.u32(), reader.u32(), reader.u32()];
  reader.end();
  return { kind: "report", sequence, firstSample, receivedUs, durationsUs };
}
function parseReceipt(data, near) {
  const reader = new Reader(data);
  const sequence = extended(reader.u16(), near);
  reader.end();
  return { kind: "receipt", sequence };
}
var CONTROL = {
  1: parseHello,
  4: parseBye,
  5: parsePing,
  8: parseGap,
  9: parsePlace,
  65: parseWelcome,
  69: parsePong
};
var PACKETS = {
  [TILE]: parseTile,
  [STILL]: parseTile,
  [PAUSE]: parsePause,
  [BUNDLE]: parseBundle
};
var ABOUT_PACKETS = {
  70: parseReport,
  71: parseReceipt
};
function parse(data, hello, counters) {
  if (!data.length) throw new WireError("the peer sent a message without a byte in it");
  const control = CONTROL[data[0]];
  const aboutPacket = ABOUT_PACKETS[data[0]];
  const packet = data[0] >= SHORT_TILE ? parseTile : PACKETS[data[0]];
  if (!control && !aboutPacket && !packet) {
    throw new WireError(`the peer sent a message of unknown type 0x${data[0].toString(16).padStart(2, "0")}`);
  }
  if (data.length > MAX_MESSAGE_BYTES) {
    throw new WireError(`the peer sent a message of ${data.length} bytes; ${MAX_MESSAGE_BYTES} is the limit`);
  }
  if (control) return control(data);
  if (aboutPacket) return aboutPacket(data, counters.sequence);
  if (!hello) throw new WireError("the peer's first message is not a hello");
  return packet(data, { hello, counters });
}
var ListenerProtocol = class {
  hello = null;
  counters = new Counters();
  receive(data) {
    if (typeof data === "string") throw new WireError("the peer sent a text message; this protocol is binary");
    const message = parse(new Uint8Array(data), this.hello, this.counters);
    if (message.kind === "hello") {
      this.hello = message;
      this.counters = new Counters();
    } else if (message.kind === "pong") return message;
    else if (message.kind === "welcome" || message.kind === "report" || message.kind === "receipt") {
      throw new WireError("the peer sent what only a receiver says");
    } else if (!this.hello && message.kind !== "gap") throw new WireError("the peer's first message is not a hello");
    else if (message.kind === "place") this.counters.moveTo(message.sequence, message.firstFrame);
    const tiles = tilesOf(message);
    for (const tile of tiles) {
      if (this.hello && tile.frames > this.hello.tile.frames) {
        throw new WireError(`tile ${tile.sequence} claims more frames than its picture has columns`);
      }
    }
    if (tiles.length) this.counters.advance(tiles[0].sequence, tiles[0].firstFrame);
    return message;
  }
};
function tilesOf(message) {
  if (message.kind === "bundle") return [message.tile, ...message.copies];
  return message.kind === "tile" || message.kind === "pause" ? [message] : [];
}
function helloBytes(hello) {
  const { mel, tile, session, live, report, agent, template } = hello;
  const text = new TextEncoder().encode(JSON.stringify({ mel, tile, session, live, report, agent }));
  const { frameHeaders, prefix } = template;
  const templateAt = 4 + text.length;
  const prefixAt = templateAt + 6 + frameHeaders.reduce((sum, header) => sum + header.length, 0);
  const data = new Uint8Array(prefixAt + prefix.length);
  const view = new DataView(data.buffer);
  data.set([1, VERSION]);
  view.setUint16(2, text.length);
  data.set(text, 4);
  view.setUint16(templateAt, template.ilocLengthAt);
  view.setUint16(templateAt + 2, template.mdatSizeAt);
  data.set([frameHeaders.length, frameHeaders.length && frameHeaders[0].length], templateAt + 4);
  frameHeaders.forEach((header, i) => data.set(header, templateAt + 6 + i * header.length));
  data.set(prefix, prefixAt);
  return data;
}
function tileBytes({ sequence, firstFrame, frames, payload, isWholeStill, header }) {
  const kind = isWholeStill ? STILL : header === null ? TILE : SHORT_TILE + header;
  const payloadAt = kind >= SHORT_TILE ? 5 : 6;
  const data = new Uint8Array(payloadAt + payload.length);
  const view = new DataView(data.buffer);
  data[0] = kind;
  view.setUint16(1, short(sequence));
  view.setUint16(3, short(firstFrame));
  if (kind < SHORT_TILE) data[5] = frames;
  data.set(payload, payloadAt);
  return data;
}
function placeBytes(sequence, firstFrame) {
  const data = new Uint8Array(17);
  const view = new DataView(data.buffer);
  data[0] = 9;
  view.setBigUint64(1, BigInt(sequence));
  view.setBigUint64(9, BigInt(firstFrame));
  return data;
}
function byeBytes({ tiles, samples }) {
  const data = new Uint8Array(17);
  const view = new DataView(data.buffer);
  data[0] = 4;
  view.setBigUint64(1, BigInt(tiles));
  view.setBigUint64(9, BigInt(samples));
  return data;
}
function pingBytes(sentUs, sampleZeroUs = 0, receiverAheadUs = 0) {
  const data = new Uint8Array(25);
  const view = new DataView(data.buffer);
  data[0] = 5;
  view.setBigUint64(1, BigInt(Math.round(sentUs)));
  view.setBigInt64(9, BigInt(Math.round(sampleZeroUs)));
  view.setBigInt64(17, BigInt(Math.round(receiverAheadUs)));
  return data;
}

// src/link.ts
var FIRST_RETRY_S = 0.5;
var LONGEST_RETRY_S = 4;
var FIRST_CONNECT_S = 10;
var RECONNECT_S = 2;
var WATCH_S2 = 0.25;
var HEALTH_S = 2;
var TRIPS = 16;
var NORMAL = 1e3;
var PING_S = 1;
function bearer(token) {
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(token)));
  return `audio-avif.bearer.${base64.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`;
}
async function whyRefused() {
  try {
    await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(HEALTH_S * 1e3) });
  } catch {
    return "";
  }
  return `The server is there but did not let this page connect: it may be full, or may not know the address ${self.location.origin} (behind a proxy it must be started with --allow-origin). Trying again \u2026`;
}
var Link = class {
  /** Asks for `url` before each attempt. A connection without messages for `silentS` is dead: the user must ping it. */
  constructor(url, token, silentS, user, nowS) {
    this.url = url;
    this.token = token;
    this.silentS = silentS;
    this.user = user;
    this.nowS = nowS;
    this.awake = new AwakeClock(nowS);
    user.onState("connecting", "");
    this.connect();
  }
  url;
  token;
  silentS;
  user;
  nowS;
  /** The server's clock minus `nowS`, from the pong with the shortest round trip; null until known. */
  serverAheadS = null;
  /** Round trip of the newest pong. */
  roundTripS = null;
  /** Seconds since the last message on this connection. */
  silenceS = 0;
  socket = null;
  isClosed = false;
  retryS = FIRST_RETRY_S;
  connectedInS = null;
  heardS = 0;
  timers = [];
  trips = [];
  awake;
  /** Bytes not yet sent by the browser; infinite without a connection. */
  get unsentBytes() {
    return this.isOpen ? this.socket.bufferedAmount : Infinity;
  }
  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }
  /** Send a message if a connection is open. */
  send(message) {
    if (this.isOpen) this.socket.send(message);
  }
  /** Stop reconnecting; close this connection after `afterS`, unless the server closes it before. */
  close(afterS = 0, code = NORMAL) {
    this.isClosed = true;
    this.stopTimers();
    const { socket } = this;
    if (afterS) self.setTimeout(() => socket?.close(code), afterS * 1e3);
    else socket?.close(code);
  }
  /** Call at an interval while this connection lasts. */
  every(seconds, callback) {
    this.timers.push(self.setInterval(callback, seconds * 1e3));
  }
  /** Call once, unless this connection ends before. */
  after(seconds, callback) {
    this.timers.push(self.setTimeout(callback, seconds * 1e3));
  }
  takePong(pong, nowS) {
    const [pingS, serverS] = [pong.pingSentUs / 1e6, pong.receiverUs / 1e6];
    this.roundTripS = nowS - pingS;
    this.trips = [...this.trips, { tripS: this.roundTripS, aheadS: serverS - (pingS + nowS) / 2 }].slice(-TRIPS);
    this.serverAheadS = this.trips.reduce((best, each) => each.tripS < best.tripS ? each : best).aheadS;
  }
  stopTimers() {
    for (const timer of this.timers) self.clearTimeout(timer);
    this.timers = [];
  }
  connect() {
    this.stopTimers();
    const beganS = this.nowS();
    const socket = new WebSocket(this.url(), this.token ? [SUBPROTOCOL, bearer(this.token)] : [SUBPROTOCOL]);
    let wasOpen = false;
    this.socket = socket;
    this.hear();
    this.every(WATCH_S2, () => this.watch());
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (this.isClosed) return;
      wasOpen = true;
      this.connectedInS ??= this.nowS() - beganS;
      this.trips = [];
      this.serverAheadS = null;
      this.hear();
      this.user.onOpen();
    };
    socket.onmessage = ({ data }) => this.take(data);
    socket.onclose = ({ code, reason }) => {
      if (!this.isClosed) void this.closed(code, reason, wasOpen);
    };
  }
  hear() {
    this.heardS = this.awake.nowS();
    this.silenceS = 0;
  }
  take(data) {
    if (this.isClosed) return;
    this.hear();
    try {
      this.user.onMessage(data, this.nowS());
      this.retryS = FIRST_RETRY_S;
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.fail(`The server sent what this page does not understand: ${error.message}.`);
    }
  }
  /** Drop a connection that is silent or does not open. */
  watch() {
    this.silenceS = this.awake.nowS() - this.heardS;
    if (this.silenceS > this.patienceS) this.lose("The server does not answer. Trying again \u2026");
    else if (this.isOpen) this.user.onTick?.();
  }
  get patienceS() {
    if (this.isOpen) return this.silentS;
    if (this.connectedInS === null) return FIRST_CONNECT_S;
    return Math.min(FIRST_CONNECT_S, Math.max(RECONNECT_S, 3 * this.connectedInS));
  }
  async closed(code, reason, wasOpen) {
    this.stopTimers();
    const final = this.user.whyFinal(code, reason);
    if (final !== null) {
      this.fail(final);
      return;
    }
    const refusal = wasOpen ? "" : await whyRefused();
    if (this.isClosed) return;
    if (refusal) this.lose(refusal, "refused");
    else this.lose(`Connection lost${reason ? ` (${reason})` : ""}. Trying again \u2026`);
  }
  /** Drop this connection without waiting for the peer, and reconnect after a while. */
  lose(detail, state = "lost") {
    const { socket } = this;
    this.socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const waitS = this.retryS * (0.8 + 0.4 * Math.random());
    this.retryS = Math.min(2 * this.retryS, LONGEST_RETRY_S);
    this.stopTimers();
    this.after(waitS, () => this.connect());
    this.user.onState(state, detail);
  }
  fail(detail) {
    this.close(0, CLOSE.protocol);
    this.user.onState("failed", detail);
  }
};

// src/connection.ts
var SILENT_S = 3;
var QUIET_S = 2;
var FINAL = [CLOSE.protocol, CLOSE.unauthorized, CLOSE.unknownRoom];
var Connection = class {
  constructor(url, token, listener, nowS) {
    this.listener = listener;
    this.nowS = nowS;
    const query = () => this.unfinished ? `?unfinished=${encodeURIComponent(this.unfinished)}` : "";
    this.link = new Link(() => url + query(), token, SILENT_S, this, nowS);
  }
  listener;
  nowS;
  link;
  protocol = new ListenerProtocol();
  lastMessageS = 0;
  /** The session of which the end is still to come, "" where there is none. */
  unfinished = "";
  /** The server's clock minus `nowS`; null until known. */
  get serverAheadS() {
    return this.link.serverAheadS;
  }
  close() {
    this.link.close();
  }
  onOpen() {
    this.protocol = new ListenerProtocol();
    this.lastMessageS = this.nowS();
    this.ping();
    this.link.every(PING_S, () => this.ping());
  }
  onMessage(data, receivedS) {
    const message = this.protocol.receive(data);
    if (message.kind === "pong") {
      this.link.takePong(message, receivedS);
      if (!this.protocol.hello) this.onState("waiting", "");
      return;
    }
    if (message.kind === "hello") this.unfinished = message.session;
    if (message.kind === "bye") this.unfinished = "";
    if (message.kind !== "ping") this.lastMessageS = receivedS;
    this.listener.onMessage(message, receivedS);
  }
  /** The server answers, but sends no stream. */
  onTick() {
    const isAnswered = this.link.silenceS < 1.5 * PING_S;
    if (isAnswered && this.nowS() - this.lastMessageS > QUIET_S) this.onState("waiting", "");
  }
  whyFinal(code, reason) {
    if (!FINAL.includes(code)) return null;
    const words = {
      [CLOSE.unauthorized]: "The token is missing or wrong.",
      [CLOSE.unknownRoom]: "There is no room of this name here."
    };
    return words[code] ?? `The server closed the connection: ${reason}.`;
  }
  onState(state, detail) {
    this.listener.onState(state, detail);
  }
  ping() {
    this.link.send(pingBytes(this.nowS() * 1e6));
  }
};

// src/position.ts
var StreamPosition = class {
  constructor(hopSamples) {
    this.hopSamples = hopSamples;
  }
  hopSamples;
  pushedSamples = 0;
  emittedSamples = 0;
  jumps = [];
  leftOutSamples = 0;
  endSample = Infinity;
  /** Samples inside the vocoder. */
  get heldSamples() {
    return this.pushedSamples - this.emittedSamples;
  }
  /** Record that the vocoder takes in `frames` frames. */
  push(frames) {
    this.pushedSamples += frames * this.hopSamples;
  }
  /** Record that the next frame lies `frames` frames later in the stream than expected; negative for earlier. */
  leaveOut(frames) {
    if (frames) this.jumps.push({ at: this.pushedSamples, samples: frames * this.hopSamples });
  }
  /** The stream ends before this sample; `emit` cuts off the samples from there on. */
  endAt(sample) {
    this.endSample = sample;
  }
  /** Add stream positions to the vocoder's output. */
  emit(samples) {
    const firstSample = this.nextSample();
    this.emittedSamples += samples.length;
    const beyond = Math.min(samples.length, Math.max(0, this.nextSample() - this.endSample));
    return { samples: samples.subarray(0, samples.length - beyond), firstSample: Math.max(0, firstSample) };
  }
  /** Stream position of the vocoder's next sample, which may lie before a jump that its input has passed. */
  nextSample() {
    while (this.jumps.length && this.jumps[0].at <= this.emittedSamples) {
      this.leftOutSamples += this.jumps[0].samples;
      this.jumps.shift();
    }
    return this.emittedSamples + this.leftOutSamples;
  }
};

// src/decoder.ts
var MAX_INTERPOLATED_FRAMES = 32;
var MAX_FILL_FRAMES = 128;
var FADE_LOG10_PER_S = 10;
var SPARE = 1.5;
var Decoder = class {
  constructor(mel, tile, vocoder, playout = BROWSER_PLAYOUT) {
    this.mel = mel;
    this.tile = tile;
    this.vocoder = vocoder;
    this.frameS = frameS(mel);
    this.tileS = tile.frames * this.frameS;
    this.pacer = new Pacer(playout, this.tileS, this.frameS);
    this.background = new Background(mel, tile);
    this.position = new StreamPosition(mel.hop_samples);
    this.lastFrame = new Float32Array(mel.n_mels).fill(tile.log10_min);
  }
  mel;
  tile;
  vocoder;
  pacer;
  background;
  frameS;
  tileS;
  tiles = new TileQueue();
  position;
  lastFrame;
  /** The stream's frame after the last tile; null before the first tile. */
  nextFrame = null;
  /** Concealed frames since that tile. */
  bridgedFrames = 0;
  /** Concealed frames since the last packet of any kind. */
  unheardOfFrames = 0;
  isSilent = true;
  wasSkipped = false;
  isEnding = false;
  splicer = new SampleSplicer();
  /** Quiet samples that the vocoder took in a row. */
  quietSamples = 0;
  /** Counts of the tiles. */
  get counts() {
    return this.tiles.counts;
  }
  /** With less sound than this in the buffer, concealment or a pause's noise must be made. */
  get urgentS() {
    const { depthS, urgentS } = this.pacer;
    return this.background.pause && this.cutOffS <= 0 ? Math.max(depthS - this.frameS / 2, urgentS) : urgentS;
  }
  /** Whether no sound is made before the next packet, even if the buffer is empty. */
  get isWaiting() {
    return this.isEnding || this.isSilent && !this.background.pause;
  }
  /** Seconds without packets beyond the time that is concealed in full, which a pause extends by a tile. */
  get cutOffS() {
    const expectedS = this.background.pause ? this.tileS : 0;
    return this.unheardOfFrames * this.frameS - this.pacer.config.maxConcealS - expectedS;
  }
  /** Whether a copy of this tile is needed. */
  needs(sequence) {
    return this.tiles.needs(sequence);
  }
  /** Take a packet that arrived at `nowS`, those of its copies that are needed, and how many copies it had. */
  push(packet, copies, copyCount, nowS) {
    if (this.isSilent && !this.tiles.size) this.pacer.forgetArrivals();
    this.pacer.push(packet.firstFrame, copyCount, nowS);
    this.unheardOfFrames = 0;
    this.tiles.push(packet, copies);
  }
  /** The next frames for the vocoder, given the seconds of sound in the buffer; null to wait for more packets. */
  nextFrames(waitingS, nowS) {
    const bufferedS = waitingS - this.unfilledS();
    if (!this.isEnding && this.tiles.keepNewest(this.pacer.roomTiles(bufferedS))) this.wasSkipped = true;
    for (let packet; packet = this.nextPacket(bufferedS); ) {
      if (this.nextFrame === null) {
        this.nextFrame = packet.firstFrame;
        this.position.leaveOut(packet.firstFrame);
      }
      if (packet.firstFrame < this.nextFrame) this.counts.damaged++;
      else if (packet.kind === "pause") {
        this.background.pause = packet;
        const speech = this.isEnding ? this.speakPause() : null;
        if (speech) return speech;
      } else if (packet.logMel) return this.join(packet, packet.logMel, bufferedS, nowS);
      else this.counts.damaged++;
    }
    if (!this.isEnding && bufferedS <= this.urgentS && !this.tiles.size) return this.bridge();
    return this.isEnding ? this.speakPause() : null;
  }
  /** The next packet in order, once the missing ones before it have been waited for. */
  nextPacket(bufferedS) {
    const packet = this.tiles.pop();
    if (packet) return packet;
    const hasWaited = bufferedS <= this.urgentS || this.isEnding;
    return hasWaited && this.tiles.giveUpMissing() ? this.tiles.pop() : null;
  }
  /** The part of the silence at the start that the vocoder's delay accounts for. */
  unfilledS() {
    if (!this.position.pushedSamples) return 0;
    return Math.max(0, this.vocoder.latencySamples - this.position.heldSamples) / this.mel.rate_hz;
  }
  /** Frames of the stream between the last one spoken and this frame. */
  gapBefore(firstFrame) {
    return firstFrame - (this.nextFrame ?? 0) - this.bridgedFrames;
  }
  /** All frames before this one are spoken or left out. */
  wentOnTo(nextFrame) {
    this.nextFrame = nextFrame;
    this.bridgedFrames = 0;
    this.isSilent = false;
  }
  /** Put a tile's frames after the last ones spoken: fill a gap, keep the depth of the buffer. */
  join(tile, logMel, bufferedS, nowS) {
    const gap = this.gapBefore(tile.firstFrame);
    const dueS = this.pacer.dueS(tile.firstFrame, nowS);
    const isQuiet = this.background.isQuiet(logMel);
    const speech = this.isSilent ? this.afterSilence(logMel, dueS) : this.afterSound(logMel, gap, dueS, bufferedS, isQuiet);
    this.position.leaveOut(gap + logMel.length - speech.logMel.length);
    this.background.push(logMel);
    this.wentOnTo(tile.firstFrame + tile.frames);
    this.wasSkipped = false;
    return { ...speech, tile, isQuiet };
  }
  /** The frames of the first tile after silence, and the remaining silence before them. */
  afterSilence(logMel, dueS) {
    this.pacer.forgetDepths();
    const silenceS = Math.max(0, dueS);
    const spliceS = 0;
    if (this.position.pushedSamples) return { logMel: fadeIn(logMel, this.frameS), silenceS, spliceS };
    return { logMel, silenceS: silenceS + this.vocoder.latencySamples / this.mel.rate_hz, spliceS };
  }
  /** The frames that fill the gap before a tile, and its own, as many as the pace asks for. */
  afterSound(logMel, gap, dueS, bufferedS, isQuiet) {
    const needed = roundHalfToEven((dueS - bufferedS) / this.frameS);
    const fill = this.fill(gap, logMel[0], needed);
    if (this.isEnding) return { logMel: [...fill, ...logMel], silenceS: 0, spliceS: 0 };
    const rest = logMel.slice(this.replacedByNoise(logMel, Math.min(-gap, -needed)));
    if (gap || this.wasSkipped) this.pacer.forgetDepths();
    const surplusS = bufferedS + (fill.length + rest.length - logMel.length) * this.frameS - dueS;
    const { frames, spliceS } = this.pacer.pushFrames(this.lastFrame, rest, surplusS, isQuiet);
    return { logMel: [...fill, ...frames], silenceS: 0, spliceS };
  }
  /** Frames for a gap before a tile: a short gap is filled, a longer one as far as the buffer needs. */
  fill(gap, after, needed) {
    const { pause } = this.background;
    if (!pause && gap > 0 && gap <= MAX_INTERPOLATED_FRAMES && !this.wasSkipped) {
      return this.background.interpolate(this.lastFrame, after, gap);
    }
    const wanted = this.isEnding ? pause ? gap : 0 : needed;
    const frames = Math.max(0, Math.min(gap, wanted, MAX_FILL_FRAMES));
    return frames ? this.background.frames(frames) : [];
  }
  /** How many of a tile's first frames, `most` at most, are no louder than the pause's noise spoken for them. */
  replacedByNoise(logMel, most) {
    if (!this.background.pause) return 0;
    for (let count = Math.min(most, logMel.length - 1); count > 0; count--) {
      if (this.background.isQuiet(logMel.slice(0, count))) return count;
    }
    return 0;
  }
  /** A piece of background into which the last sound decays, while no packets come; later silence. */
  bridge() {
    if (this.isWaiting) return null;
    const cutOffS = this.cutOffS;
    if (cutOffS >= this.pacer.config.fadeS) {
      this.isSilent = true;
      this.background.pause = null;
      return null;
    }
    let frames = this.background.frames(this.pieceFrames());
    if (cutOffS > 0) {
      frames = frames.map((frame) => frame.map((x) => Math.max(x - cutOffS * FADE_LOG10_PER_S, this.tile.log10_min)));
    }
    this.isSilent = false;
    this.bridgedFrames += frames.length;
    this.unheardOfFrames += frames.length;
    return { logMel: frames, tile: null, silenceS: 0, isQuiet: this.background.pause !== null, spliceS: 0 };
  }
  /** Frames of concealment at once: few, but with a slow vocoder enough for its sound to stay ahead. */
  pieceFrames() {
    const sustained = Math.ceil(SPARE * this.pacer.processingS / this.frameS);
    return Math.max(1, Math.min(sustained, this.tile.frames));
  }
  /** The rest of the pause at the end of a stream. */
  speakPause() {
    const { pause } = this.background;
    if (!pause) return null;
    const endFrame = pause.firstFrame + pause.frames;
    const frames = this.gapBefore(endFrame);
    const spoken = Math.min(frames, MAX_FILL_FRAMES);
    if (spoken <= 0) return null;
    const noise = this.background.frames(spoken);
    this.position.leaveOut(frames - spoken);
    this.wentOnTo(endFrame);
    return { logMel: noise, tile: null, silenceS: 0, isQuiet: true, spliceS: 0 };
  }
  /** Run the vocoder on the frames; return the samples that are now final. */
  async speak(speech) {
    this.lastFrame = speech.logMel[speech.logMel.length - 1];
    this.position.push(speech.logMel.length);
    this.quietSamples = speech.isQuiet ? this.quietSamples + speech.logMel.length * this.mel.hop_samples : 0;
    const isQuiet = this.quietSamples >= this.position.heldSamples;
    const chunk = this.position.emit(await this.vocoder.push(speech.logMel));
    const wanted = roundHalfToEven(speech.spliceS * this.mel.rate_hz);
    const samples = this.splicer.push(chunk.samples, wanted, isQuiet);
    this.pacer.spliced((samples.length - chunk.samples.length) / this.mel.rate_hz);
    return { ...chunk, samples };
  }
  /** No more packets will come; without a bye the stream was cut off. Call `nextFrames` for the rest. */
  end(bye) {
    this.isEnding = true;
    if (bye) {
      this.tiles.end(bye.tiles);
      this.position.endAt(bye.samples);
    }
  }
  /** The vocoder's last samples; a stream with a bye ends exactly at its last sample. */
  async flush() {
    return this.position.emit(await this.vocoder.flush());
  }
};

// src/frame_headers.ts
var FRAME_HEADER_BYTES = 5;
function makeTemplate(write, width, height) {
  const blank = write(new Uint8Array(width * height));
  const speck = write(new Uint8Array(width * height).fill(255, (height >> 1) * width, (height >> 1) * width + 1));
  const template = StillTemplate.of(blank);
  const headers = [blank, speck].flatMap((still) => template.strip(still)?.slice(0, FRAME_HEADER_BYTES) ?? []);
  return new StillTemplate(template.prefix, template.ilocLengthAt, template.mdatSizeAt, headers);
}

// src/history.ts
var HISTORY_FRAMES = 2048;
var Kind = {
  nothing: 0,
  tile: 1,
  pause: 2,
  lost: 3
};
var MAX_LOST_FRAMES = 512;
var History = class {
  constructor(bands) {
    this.bands = bands;
    this.values = new Uint8Array(HISTORY_FRAMES * bands);
  }
  bands;
  values;
  kinds = new Uint8Array(HISTORY_FRAMES);
  /** One more than the newest frame that has a column. */
  end = 0;
  dirty = [];
  pause = null;
  /** The frames whose columns changed since the last call. */
  takeChanges() {
    const changes = this.dirty;
    this.dirty = [];
    return changes;
  }
  /** A tile's picture `[bands, width]` row by row, of which the first frames are sound. */
  putTile(firstFrame, frames, width, pixels) {
    if (this.pause) this.fillPause(firstFrame);
    else this.fillLost(firstFrame);
    this.pause = null;
    for (let t = 0; t < frames; t++) {
      this.put(firstFrame + t, Kind.tile, (row) => pixels[row * width + t]);
    }
  }
  /** A pause begins here; the noise's column is low band first. */
  putPause(firstFrame, column) {
    if (this.pause) this.fillPause(firstFrame);
    else this.fillLost(firstFrame);
    this.pause = { firstFrame: Math.max(firstFrame, this.end), column };
  }
  /** A pause lasts until the next message; draw it up to here. */
  fillPause(until) {
    if (!this.pause) return;
    const { firstFrame, column } = this.pause;
    const from = Math.max(firstFrame, this.end, until - HISTORY_FRAMES);
    for (let frame = from; frame < until; frame++) {
      this.put(frame, Kind.pause, (row) => column[this.bands - 1 - row]);
    }
  }
  fillLost(until) {
    if (!this.end || until - this.end > MAX_LOST_FRAMES) return;
    for (let frame = this.end; frame < until; frame++) this.put(frame, Kind.lost, () => 0);
  }
  put(frame, kind, valueAt) {
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
};

// src/inbox.ts
var CAPACITY2 = 128;
var isPacket = ({ kind }) => kind === "tile" || kind === "pause" || kind === "bundle";
var Inbox = class {
  constructor(capacity = CAPACITY2) {
    this.capacity = capacity;
  }
  capacity;
  /** Tiles and pauses that were left out; the gap in their numbers counts them as lost, too. */
  leftOutTiles = 0;
  waiting = [];
  put(message, receivedS) {
    this.waiting.push({ message, receivedS });
    if (this.waiting.length > this.capacity) this.leaveOut();
  }
  take() {
    return this.waiting.shift();
  }
  leaveOut() {
    const index = this.waiting.findIndex(({ message: message2 }) => isPacket(message2) || message2.kind === "ping");
    const [{ message }] = this.waiting.splice(Math.max(0, index), 1);
    if (isPacket(message)) this.leftOutTiles++;
  }
};

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
var CAPACITY3 = 8 * 16e3;
var FADE = 0.95;
var Ring = class {
  /** Number of samples taken out. */
  taken = 0;
  /** Number of underruns. */
  underruns = 0;
  samples = new Float32Array(CAPACITY3);
  readAt = 0;
  count = 0;
  isDue = false;
  last = 0;
  /** Queue samples; a full ring drops the oldest. */
  write(samples) {
    for (const sample of samples) {
      this.samples[(this.readAt + this.count) % CAPACITY3] = sample;
      if (this.count < CAPACITY3) this.count++;
      else {
        this.readAt = (this.readAt + 1) % CAPACITY3;
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
      this.readAt = (this.readAt + 1) % CAPACITY3;
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

// src/outlet.ts
var MIN_BLOCK_S = 0.03;
function openOutlet(context) {
  return "audioWorklet" in context ? openWorklet(context) : openScript(context);
}
async function openWorklet(context) {
  await context.audioWorklet.addModule("worklet.js");
  const node = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
  return { node, blockS: 0, follow: (worker) => node.port.postMessage(worker, [worker]) };
}
function openScript(context) {
  const player = new Player(context.sampleRate);
  const block = 2 ** Math.ceil(Math.log2(MIN_BLOCK_S * context.sampleRate));
  const node = context.createScriptProcessor(block, 1, 1);
  node.onaudioprocess = ({ outputBuffer }) => player.fill(outputBuffer.getChannelData(0));
  return { node, blockS: block / context.sampleRate, follow: (worker) => player.follow(worker) };
}

// src/picture_writer.ts
var STILL_OPTIONS = {
  qualityAlpha: -1,
  denoiseLevel: 0,
  tileColsLog2: 0,
  tileRowsLog2: 0,
  speed: 6,
  subsample: 0,
  // one plane
  chromaDeltaQ: false,
  sharpness: 0,
  tune: 0,
  // any value gives the same stills: this build always tunes for SSIM
  enableSharpYUV: false,
  bitDepth: 8
};
var PictureWriter = class _PictureWriter {
  constructor(module) {
    this.module = module;
  }
  module;
  /** Loads the encoder. Passes its errors on. */
  static async load() {
    const url = `./avif-${"2.1.1"}.js`;
    const { default: start } = await import(url);
    const module = await start({
      noInitialRun: true,
      locateFile: () => new URL(`./avif-${"2.1.1"}.wasm`, import.meta.url).href
    });
    return new _PictureWriter(module);
  }
  /** Compress gray values `[height, width]` row by row; quality 0 to 100. */
  write(pixels, width, height, quality) {
    const rgba = new Uint8ClampedArray(4 * pixels.length).fill(255);
    pixels.forEach((pixel, i) => rgba.fill(pixel, 4 * i, 4 * i + 3));
    const still = this.module.encode(rgba, width, height, { ...STILL_OPTIONS, quality });
    if (!still) throw new Error("the AVIF encoder failed");
    return still.slice();
  }
};

// src/publisher.ts
var SILENT_S2 = 5;
var FIRST_PINGS = 5;
var FIRST_PING_S = 0.1;
var MAX_UNSENT_BYTES = 4096;
var END_S = 3;
var COMES_BACK = [1001, 1006, 1011, 1012, 1013];
var Publisher = class {
  constructor(url, token, hello, tell, nowS) {
    this.hello = hello;
    this.tell = tell;
    this.nowS = nowS;
    this.link = new Link(() => url, token, SILENT_S2, this, nowS);
  }
  hello;
  tell;
  nowS;
  sentTiles = 0;
  droppedTiles = 0;
  sentBytes = 0;
  /** Capture time of sample 0 in seconds of `nowS`; 0 until there is one. */
  sampleZeroS = 0;
  link;
  isWelcome = false;
  wasWelcome = false;
  isTaken = false;
  counters = new Counters();
  get roundTripS() {
    return this.link.roundTripS;
  }
  /** Whether a tile would be sent now. */
  get isReady() {
    return this.isWelcome && this.link.unsentBytes < MAX_UNSENT_BYTES;
  }
  /** Send a tile; drop and count it while none can be sent. */
  send(tile) {
    if (!this.isReady) {
      this.droppedTiles++;
      return;
    }
    const sequence = this.sentTiles++;
    const { firstFrame } = tile;
    if (!this.counters.reaches(sequence, firstFrame)) this.link.send(placeBytes(sequence, firstFrame));
    this.counters.moveTo(sequence, firstFrame);
    this.link.send(tileBytes({ kind: "tile", sequence, ...tile }));
    this.sentBytes += tile.payload.length;
  }
  /** End the stream after `samples` samples; the relay closes the connection when it has received all. */
  end(samples) {
    if (this.isWelcome) this.link.send(byeBytes({ tiles: this.sentTiles, samples }));
    this.link.close(this.isWelcome ? END_S : 0);
  }
  onOpen() {
    this.isWelcome = false;
    this.counters = new Counters();
    this.link.send(helloBytes(this.hello));
  }
  onMessage(data, receivedS) {
    if (typeof data === "string") throw new WireError("the peer sent a text message; this protocol is binary");
    const message = parse(new Uint8Array(data), null, this.counters);
    if (message.kind === "pong") this.link.takePong(message, receivedS);
    else if (message.kind === "welcome") this.begin();
  }
  begin() {
    this.isWelcome = this.wasWelcome = true;
    for (let i = 0; i < FIRST_PINGS; i++) this.link.after(i * FIRST_PING_S, () => this.ping());
    this.link.every(PING_S, () => this.ping());
    this.onState("playing", "");
  }
  ping() {
    const zeroS = this.sampleZeroS || this.nowS();
    this.link.send(pingBytes(this.nowS() * 1e6, zeroS * 1e6, (this.link.serverAheadS ?? 0) * 1e6));
  }
  /** "taken" is told in place of "failed" where another stream was there first. */
  onState(state, detail) {
    this.tell(state === "failed" && this.isTaken ? "taken" : state, detail);
  }
  /** After losing the room to another publisher during an outage, retry until it is free again. */
  whyFinal(code, reason) {
    this.isTaken = code === CLOSE.busy && !this.wasWelcome;
    if (COMES_BACK.includes(code) || code === CLOSE.busy && this.wasWelcome) return null;
    const words = {
      [CLOSE.unauthorized]: "The token is missing or wrong.",
      [CLOSE.unknownRoom]: "There is no room of this name here.",
      [CLOSE.busy]: `The room is taken: ${reason}.`
    };
    return words[code] ?? `The server closed the connection: ${reason}.`;
  }
};

// src/rate.ts
var WINDOW_S3 = 5;
var RateMeter = class {
  spent = [];
  push(bytes, nowS) {
    this.spent.push({ atS: nowS, bytes });
    this.forget(nowS);
  }
  kbps(nowS) {
    this.forget(nowS);
    const spanS = this.spent.length ? Math.max(1, nowS - this.spent[0].atS) : 1;
    return this.spent.reduce((sum, each) => sum + each.bytes, 0) * 8 / 1e3 / spanS;
  }
  forget(nowS) {
    while (this.spent.length && this.spent[0].atS <= nowS - WINDOW_S3) this.spent.shift();
  }
};

// src/sink.ts
var MAX_EXTRAPOLATED_S = 0.1;
var CLOCK_REPORTS = 64;
var Sink = class {
  /** `onReport` is called every 16 ms while sound is played, or once per block if blocks are longer. */
  constructor(port, nowS, onReport) {
    this.port = port;
    this.nowS = nowS;
    port.onmessage = ({ data }) => {
      this.taken = data.taken;
      this.underruns = data.underruns;
      this.playedS = data.playedS;
      this.leads = [...this.leads, nowS() - data.playedS].slice(-CLOCK_REPORTS);
      while (this.places.length > 1 && this.places[1].at <= this.taken) this.places.shift();
      onReport();
    };
  }
  port;
  nowS;
  underruns = 0;
  written = 0;
  taken = 0;
  playedS = 0;
  leads = [];
  isResting = true;
  places = [];
  /** Reports may be read late but never early, so the earliest of the last ones gives the device's clock. */
  get takenNow() {
    const reportedAtS = this.playedS + Math.min(...this.leads);
    const sinceS = this.leads.length ? Math.min(this.nowS() - reportedAtS, MAX_EXTRAPOLATED_S) : 0;
    return Math.min(this.written, this.taken + sinceS * RATE_HZ);
  }
  /** Seconds of sound written so far, silence included. */
  get writtenS() {
    return this.written / RATE_HZ;
  }
  /** Seconds of sound written and not yet played. */
  get bufferedS() {
    return (this.written - this.takenNow) / RATE_HZ;
  }
  /** Stream position of the sample that leaves the ring now; null while none does. */
  get heardSample() {
    const taken = this.takenNow;
    const place = this.places.findLast((each) => each.at <= taken);
    return place && taken < place.at + place.samples ? place.firstSample + taken - place.at : null;
  }
  write({ samples, firstSample }) {
    if (!samples.length) return;
    this.places.push({ at: this.written, samples: samples.length, firstSample });
    this.send(samples);
  }
  silence(seconds) {
    this.send(new Float32Array(Math.max(0, Math.round(seconds * RATE_HZ))));
  }
  /** No sound is due until more is written, so an empty ring is not an underrun. */
  rest() {
    if (!this.isResting) this.port.postMessage("rest");
    this.isResting = true;
  }
  send(samples) {
    this.written += samples.length;
    this.isResting = false;
    const own = samples.slice();
    this.port.postMessage(own, [own.buffer]);
  }
};

// src/target.ts
var TargetWatch = class {
  seenAtS = null;
  seenCopies = 0;
  reason = "";
  /** Takes the target as it is now, and how many copies come with a tile; "" where it never rose. */
  raisedBy(targetS, copies) {
    if (this.seenAtS !== null && targetS > this.seenAtS + 1e-3) {
      this.reason = copies > this.seenCopies ? "copies" : "jitter";
      this.seenCopies = copies;
    }
    this.seenAtS = targetS;
    return this.reason;
  }
};

// src/tiles.ts
function toPixels(logMel, tile) {
  const [width, height] = [logMel.length, logMel[0].length];
  const scale = 255 / (tile.log10_max - tile.log10_min);
  const pixels = new Uint8Array(width * height);
  logMel.forEach(
    (frame, t) => frame.forEach((x, band) => {
      const value = Math.round(Math.min(Math.max((x - tile.log10_min) * scale, 0), 255));
      pixels[(height - 1 - band) * width + t] = value;
    })
  );
  return pixels;
}
var TileCutter = class {
  constructor(tile) {
    this.tile = tile;
  }
  tile;
  pending = [];
  nextFrame = 0;
  push(logMel) {
    this.pending.push(...logMel);
    const tiles = [];
    while (this.pending.length >= this.tile.frames) tiles.push(this.cut(this.pending.splice(0, this.tile.frames)));
    return tiles;
  }
  /** The last tile, if any frames are left; its missing columns repeat the last frame. */
  flush() {
    const frames = this.pending.length;
    if (!frames) return [];
    const missing = Array(this.tile.frames - frames).fill(this.pending[frames - 1]);
    return [{ ...this.cut([...this.pending.splice(0), ...missing]), frames }];
  }
  cut(logMel) {
    const firstFrame = this.nextFrame;
    this.nextFrame += this.tile.frames;
    return { firstFrame, frames: this.tile.frames, pixels: toPixels(logMel, this.tile) };
  }
};
export {
  ArrivalWatch,
  AwakeClock,
  BROWSER_PLAYOUT,
  Background,
  CLOSE,
  CallState,
  Connection,
  Counters,
  Decoder,
  DepthWatch,
  END_S,
  FRAME_HEADER_BYTES,
  FloorTracker,
  FrameStretcher,
  HISTORY_FRAMES,
  History,
  Inbox,
  Kind,
  Link,
  ListenerProtocol,
  LogMelStream,
  MAX_COUNT,
  MAX_FRAME_HEADERS,
  MAX_MESSAGE_BYTES,
  MAX_REDUNDANCY,
  MAX_TILE_FRAMES,
  NOISE_LEVELS,
  NoiseSource,
  PING_S,
  Pacer,
  PictureWriter,
  Player,
  Publisher,
  RATE_HZ,
  RateMeter,
  Resampler,
  Ring,
  STILL_OPTIONS,
  SUBPROTOCOL,
  SampleSplicer,
  Sink,
  Steadiness,
  StillTemplate,
  StreamPosition,
  TargetWatch,
  TileCounts,
  TileCutter,
  TileError,
  TileQueue,
  USUAL_MEL,
  USUAL_TILE,
  VERSION,
  WireError,
  bandAt,
  bearer,
  byeBytes,
  callRooms,
  decay,
  extended,
  fadeIn,
  frameS,
  fromPixel,
  helloBytes,
  inspectStill,
  interpolate,
  isUsual,
  makeTemplate,
  median,
  melOf,
  mix,
  naturalFluctuation,
  noiseEnvelope,
  openOutlet,
  otherRoom,
  overNoise,
  parse,
  pingBytes,
  placeBytes,
  readAddress,
  recentS,
  roundHalfToEven,
  short,
  tileBytes,
  tileOf,
  toPixels,
  writeAddress
};
