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
  boxes(start2, end) {
    const found = [];
    for (let at = start2; at < end; ) {
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
  const isUsual = bytes.u32(iloc.at) === 0 && bytes.u16(iloc.at + 4) === 17408 && bytes.u16(iloc.at + 6) === 1 && bytes.u16(iloc.at + 10) === 0 && bytes.u16(iloc.at + 12) === 1;
  if (!isUsual) throw new TileError("the AVIF still has an unsupported layout");
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

// src/frame_headers.ts
var FRAME_HEADER_BYTES = 5;
function makeTemplate(write, width, height) {
  const blank = write(new Uint8Array(width * height));
  const speck = write(new Uint8Array(width * height).fill(255, (height >> 1) * width, (height >> 1) * width + 1));
  const template = StillTemplate.of(blank);
  const headers = [blank, speck].flatMap((still) => template.strip(still)?.slice(0, FRAME_HEADER_BYTES) ?? []);
  return new StillTemplate(template.prefix, template.ilocLengthAt, template.mdatSizeAt, headers);
}

// src/pictures.ts
var TRIAL = "AAAAHGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZgAAAOltZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAAA5waXRtAAAAAAABAAAAHmlsb2MAAAAARAAAAQABAAAAAQAAAQ0AAAArAAAAKGlpbmYAAAAAAAEAAAAaaW5mZQIAAAAAAQAAYXYwMUNvbG9yAAAAAGhpcHJwAAAASWlwY28AAAAUaXNwZQAAAAAAAAAIAAAAUAAAAA5waXhpAAAAAAEIAAAADGF2MUOBABwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAM21kYXQSAAoIGAm89pgIaDUyHRbCzu44FlYA/GT2llcoKki0vNU0tcTdKcvk9AoZ";
var TRIAL_PERIOD = 251;
var TRIAL_SUM = 7232545;
var PictureReader = class {
  canvas = new OffscreenCanvas(1, 1);
  context;
  constructor() {
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("no canvas");
    this.context = context;
  }
  /** The gray values `[height, width]` row by row. Throws TileError for anything but a still of this size. */
  async read(still, width, height) {
    const layout = inspectStill(still);
    if (layout.width !== width || layout.height !== height || layout.bitDepth !== 8 || !layout.isMonochrome) {
      throw new TileError("the tile's picture is not of the size that the stream promised");
    }
    const bitmap = await this.open(still);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    this.context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const rgba = this.context.getImageData(0, 0, width, height).data;
    return new Uint8Array(width * height).map((_, i) => rgba[4 * i]);
  }
  async open(still) {
    const blob = new Blob([still], { type: "image/avif" });
    try {
      return await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    } catch {
      throw new TileError("the tile's AVIF data cannot be decoded");
    }
  }
  /** Whether this browser decodes an AVIF still exactly, alters it, or fails. */
  async trial() {
    try {
      const still = Uint8Array.from(atob(TRIAL), (character) => character.charCodeAt(0));
      const pixels = await this.read(still, 8, 80);
      const sum = pixels.reduce((sum2, pixel, i) => sum2 + pixel * (i % TRIAL_PERIOD + 1), 0);
      return sum === TRIAL_SUM ? "exact" : "altered";
    } catch {
      return "closed";
    }
  }
};

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
    const { default: start2 } = await import(url);
    const module = await start2({
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
    const nowS2 = this.clockS();
    this.awakeS += Math.min(nowS2 - this.readS, LONGEST_STEP_S);
    this.readS = nowS2;
    return this.awakeS;
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
var WATCH_S = 0.25;
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
  constructor(url, token, silentS, user, nowS2) {
    this.url = url;
    this.token = token;
    this.silentS = silentS;
    this.user = user;
    this.nowS = nowS2;
    this.awake = new AwakeClock(nowS2);
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
  takePong(pong, nowS2) {
    const [pingS, serverS] = [pong.pingSentUs / 1e6, pong.receiverUs / 1e6];
    this.roundTripS = nowS2 - pingS;
    this.trips = [...this.trips, { tripS: this.roundTripS, aheadS: serverS - (pingS + nowS2) / 2 }].slice(-TRIPS);
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
    this.every(WATCH_S, () => this.watch());
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

// src/publisher.ts
var SILENT_S = 5;
var FIRST_PINGS = 5;
var FIRST_PING_S = 0.1;
var MAX_UNSENT_BYTES = 4096;
var END_S = 3;
var COMES_BACK = [1001, 1006, 1011, 1012, 1013];
var Publisher = class {
  constructor(url, token, hello, tell2, nowS2) {
    this.hello = hello;
    this.tell = tell2;
    this.nowS = nowS2;
    this.link = new Link(() => url, token, SILENT_S, this, nowS2);
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
var WINDOW_S = 5;
var RateMeter = class {
  spent = [];
  push(bytes, nowS2) {
    this.spent.push({ atS: nowS2, bytes });
    this.forget(nowS2);
  }
  kbps(nowS2) {
    this.forget(nowS2);
    const spanS = this.spent.length ? Math.max(1, nowS2 - this.spent[0].atS) : 1;
    return this.spent.reduce((sum, each) => sum + each.bytes, 0) * 8 / 1e3 / spanS;
  }
  forget(nowS2) {
    while (this.spent.length && this.spent[0].atS <= nowS2 - WINDOW_S) this.spent.shift();
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

// src/speaker.ts
var FIGURES_S = 0.5;
var MAX_LAG_S = 0.5;
var MAX_GAP_S = 0.1;
var MUTE_S = 2;
var nowS = () => performance.now() / 1e3;
var tell = (message, transfer = []) => self.postMessage(message, { transfer });
var Stream = class {
  constructor(speak, writer2, pictures) {
    this.speak = speak;
    this.writer = writer2;
    this.pictures = pictures;
    const { n_mels: height } = USUAL_MEL;
    this.template = makeTemplate((pixels) => writer2.write(pixels, USUAL_TILE.frames, height, speak.quality), USUAL_TILE.frames, height);
    this.resampler = speak.rateHz === RATE_HZ ? null : new Resampler(speak.rateHz / RATE_HZ);
    this.publisher = this.publish(speak.rooms);
    speak.microphone.onmessage = ({ data }) => this.hear(data);
    this.timer = self.setInterval(() => this.tellFigures(), FIGURES_S * 1e3);
  }
  speak;
  writer;
  pictures;
  publisher;
  template;
  mel = new LogMelStream(USUAL_MEL);
  cutter = new TileCutter(USUAL_TILE);
  resampler;
  timer;
  samples = 0;
  silentSamples = 0;
  hasBegun = false;
  isOver = false;
  rate = new RateMeter();
  publish([room, ...others]) {
    const session = Array.from(crypto.getRandomValues(new Uint8Array(16)), (x) => x.toString(16).padStart(2, "0")).join("");
    const settings = { mel: USUAL_MEL, tile: USUAL_TILE, template: this.template, session, live: true, report: false };
    return new Publisher(
      `${this.speak.url}/publish/${encodeURIComponent(room)}`,
      this.speak.token,
      { kind: "hello", ...settings, agent: "audio-avif-web" },
      (state, detail) => {
        if (state === "taken" && others.length) {
          this.publisher = this.publish(others);
          return;
        }
        this.hasBegun ||= state === "playing";
        tell({ kind: "status", state, detail, room });
        if (state === "failed" || state === "taken") this.close();
      },
      nowS
    );
  }
  /** End the stream with a bye. */
  stop() {
    if (this.isOver) return;
    for (const tile of [...this.cutter.push(this.mel.flush()), ...this.cutter.flush()]) this.send(tile);
    this.publisher.end(this.samples);
    this.close();
  }
  close() {
    this.isOver = true;
    clearInterval(this.timer);
    this.speak.microphone.onmessage = null;
  }
  hear(piece) {
    if (!this.hasBegun) return;
    const samples = this.resampler ? this.resampler.push(piece.samples) : piece.samples;
    this.samples += samples.length;
    const lagS = (Date.now() - piece.atMs) / 1e3;
    const zeroS = nowS() - lagS - this.samples / RATE_HZ;
    const { publisher } = this;
    const hasStoodStill = zeroS > publisher.sampleZeroS + MAX_GAP_S;
    publisher.sampleZeroS = hasStoodStill ? zeroS : Math.min(publisher.sampleZeroS, zeroS);
    this.silentSamples = samples.every((x) => x === 0) ? this.silentSamples + samples.length : 0;
    if (this.speak.isRecorded) tell({ kind: "recorded", samples: samples.slice() });
    const isLate = lagS > MAX_LAG_S;
    for (const tile of this.cutter.push(this.mel.push(samples))) {
      if (isLate) publisher.droppedTiles++;
      else this.send(tile);
    }
  }
  send({ firstFrame, frames, pixels }) {
    const [width, height] = [USUAL_TILE.frames, USUAL_MEL.n_mels];
    if (!this.publisher.isReady) {
      this.publisher.droppedTiles++;
      return;
    }
    const still = this.writer.write(pixels, width, height, this.speak.quality);
    const body = this.template.strip(still);
    const isShort = body && frames === width;
    const { header, payload } = isShort ? this.template.shorten(body) : { header: null, payload: body ?? still };
    this.publisher.send({ firstFrame, frames, payload, isWholeStill: !body, header });
    this.rate.push(payload.length, nowS());
    if (this.speak.isRecorded) tell({ kind: "recordedTile", firstFrame, still, pixels });
    void this.show(still, firstFrame, frames);
  }
  /** Shows the tiles as listeners get them. */
  async show(still, firstFrame, frames) {
    const pixels = await this.pictures.read(still.slice(), USUAL_TILE.frames, USUAL_MEL.n_mels);
    tell({ kind: "tile", firstFrame, frames, width: USUAL_TILE.frames, pixels }, [pixels.buffer]);
  }
  tellFigures() {
    const now = nowS();
    const { sentTiles, droppedTiles, roundTripS } = this.publisher;
    tell({
      kind: "figures",
      sentTiles,
      droppedTiles,
      kbps: this.rate.kbps(now),
      roundTripMs: roundTripS === null ? null : roundTripS * 1e3,
      isMute: this.silentSamples > MUTE_S * RATE_HZ
    });
  }
};
var wanted = null;
var stream = null;
var writer = null;
async function start(speak) {
  wanted = speak;
  tell({ kind: "status", state: "trying", detail: "", room: "" });
  try {
    writer ??= await PictureWriter.load();
    const pictures = new PictureReader();
    if (wanted === speak) stream = new Stream(speak, writer, pictures);
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
    tell({ kind: "status", state: "failed", detail: `The AVIF encoder did not load (${why}).`, room: "" });
  }
}
self.onmessage = ({ data }) => {
  if (data.kind === "speak") void start(data);
  else {
    wanted = null;
    stream?.stop();
    self.setTimeout(() => self.close(), (END_S + 1) * 1e3);
  }
};
