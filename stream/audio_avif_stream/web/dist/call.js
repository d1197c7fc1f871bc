// src/playout.ts
var BROWSER_PLAYOUT = { minS: 0, maxS: 1, concealAtS: 0.035, maxConcealS: 1, fadeS: 0.5 };

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
function writeAddress({ room: room2, token: token2, minBufferS: minBufferS2 }) {
  const parts = new URLSearchParams({ room: room2 });
  if (token2) parts.set("token", token2);
  if (minBufferS2 !== BROWSER_PLAYOUT.minS) parts.set("buffer", String(Math.round(minBufferS2 * 1e3)));
  return `#${parts}`;
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

// src/config.ts
var RATE_HZ = 16e3;
var USUAL_MEL = {
  rate_hz: RATE_HZ,
  n_fft: 1024,
  hop_samples: 256,
  n_mels: 80,
  fmin_hz: 80,
  fmax_hz: 7600,
  floor: 1e-10
};
function frameS(mel) {
  return mel.hop_samples / mel.rate_hz;
}

// src/capture.ts
var Microphone = class _Microphone {
  constructor(context, node, analyser, port, stream, source) {
    this.context = context;
    this.node = node;
    this.analyser = analyser;
    this.port = port;
    this.stream = stream;
    this.source = source;
    context.onstatechange = () => {
      if (context.state !== "closed") void context.resume();
    };
  }
  context;
  node;
  analyser;
  port;
  stream;
  source;
  whySilent = "";
  isMute = false;
  isClosed = false;
  changes = 0;
  /** Opens the microphone; throws the message to show where it does not open. */
  static async open(processing) {
    if (!("mediaDevices" in navigator) || !("AudioWorkletNode" in window)) {
      throw new Error("Browsers open the microphone only for pages that came over HTTPS, or from localhost.");
    }
    const stream = await openStream(processing);
    try {
      return await _Microphone.of(stream);
    } catch (error) {
      stop(stream);
      throw error;
    }
  }
  static async of(stream) {
    let [context, source] = connect(stream, new AudioContext({ sampleRate: RATE_HZ }));
    if (!source) [context, source] = connect(stream, new AudioContext());
    if (!source) throw new Error("No microphone could be opened.");
    try {
      await context.audioWorklet.addModule("microphone.js");
    } catch (error) {
      void context.close();
      throw error;
    }
    const node = new AudioWorkletNode(context, "microphone", { channelCount: 1, channelCountMode: "explicit", numberOfOutputs: 0 });
    const analyser = context.createAnalyser();
    analyser.fftSize = 2048;
    source.connect(analyser);
    source.connect(node);
    const { port1, port2 } = new MessageChannel();
    node.port.postMessage(port2, [port2]);
    void context.resume();
    return new _Microphone(context, node, analyser, port1, stream, source);
  }
  get rateHz() {
    return this.context.sampleRate;
  }
  get latencyS() {
    const { latency } = this.stream.getAudioTracks()[0]?.getSettings();
    return latency === void 0 ? null : latency + (this.context.baseLatency || 0);
  }
  /** Browsers do not change the processing of an open microphone, so it is opened again; the last change counts. */
  async process(processing) {
    const change = ++this.changes;
    const stream = await openStream(processing);
    if (this.isClosed || change !== this.changes) {
      stop(stream);
      return;
    }
    this.source.disconnect();
    stop(this.stream);
    this.stream = stream;
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.analyser);
    this.source.connect(this.node);
    this.mute(this.isMute);
  }
  mute(isMute2) {
    this.isMute = isMute2;
    for (const track of this.stream.getTracks()) track.enabled = !isMute2;
  }
  close() {
    this.isClosed = true;
    stop(this.stream);
    void this.context.close();
  }
};
var SILENCE_S = 0.032;
var Silence = class {
  constructor(whySilent) {
    this.whySilent = whySilent;
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    const beganMs = performance.now();
    this.timer = window.setInterval(() => {
      const due = Math.round((performance.now() - beganMs) / 1e3 * RATE_HZ);
      port2.postMessage({ samples: new Float32Array(due - this.samples), atMs: Date.now() });
      this.samples = due;
    }, SILENCE_S * 1e3);
  }
  whySilent;
  rateHz = RATE_HZ;
  analyser = null;
  latencyS = null;
  port;
  timer;
  samples = 0;
  process() {
    return Promise.resolve();
  }
  mute() {
    return;
  }
  close() {
    clearInterval(this.timer);
  }
};
async function openStream(processing) {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...processing } });
  } catch (error) {
    const isRefused = error instanceof DOMException && error.name === "NotAllowedError";
    const sentence = isRefused ? "Access to the microphone was denied: allow it in the browser's address bar." : "No microphone could be opened.";
    throw new Error(sentence, { cause: error });
  }
}
function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
function connect(stream, context) {
  try {
    return [context, context.createMediaStreamSource(stream)];
  } catch {
    void context.close();
    return [context, null];
  }
}

// src/features.ts
var LINEAR_HZ = 1e3;
var LINEAR_MELS = 15;
var LOG_STEP = Math.log(6.4) / 27;
function toMel(hz) {
  return hz < LINEAR_HZ ? 3 * hz / 200 : LINEAR_MELS + Math.log(hz / LINEAR_HZ) / LOG_STEP;
}
function bandAt(hz, mel) {
  const [low, high] = [toMel(mel.fmin_hz), toMel(mel.fmax_hz)];
  return (toMel(hz) - low) / (high - low) * (mel.n_mels + 1) - 1;
}

// src/colours.ts
var STOPS = {
  gray: { dark: ["#0c0e13", "#f6f3ea"], light: ["#fbfaf6", "#15171d"] },
  colour: {
    dark: ["#0c0e13", "#1d1a3f", "#4a2366", "#8a2f6d", "#cc4a5c", "#f2884f", "#fbc770", "#fdf6d0"],
    light: ["#fbfaf6", "#e3ebe2", "#b4d6cb", "#73b2b2", "#3d849c", "#2d5684", "#292f62", "#14142c"]
  }
};
var GAMMA = 1.6;
function lookup(palette, isDark) {
  const stops = STOPS[palette][isDark ? "dark" : "light"].map(
    (hex2) => [1, 3, 5].map((at) => Number.parseInt(hex2.slice(at, at + 2), 16))
  );
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let value = 0; value < 256; value++) {
    const place = (value / 255) ** GAMMA * (stops.length - 1);
    const left = Math.min(Math.floor(place), stops.length - 2);
    for (let i = 0; i < 3; i++) {
      bytes[4 * value + i] = stops[left][i] + (place - left) * (stops[left + 1][i] - stops[left][i]);
    }
    bytes[4 * value + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
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

// src/spectrogram.ts
var EDGE_WINDOW_MS = 5e3;
var REST_MS = 100;
var MAX_SHOWN_S = 12;
var MIN_SHOWN_S = 4;
var PX_PER_S = 110;
var SWEEP_GAP_FRAMES = 12;
var AXIS_PX = 20;
var Spectrogram = class {
  constructor(canvas, look) {
    this.canvas = canvas;
    this.look = look;
    this.context = canvas.getContext("2d");
    this.stripContext = this.strip.getContext("2d");
    this.colours = lookup(look.palette, look.isDark);
    const step = () => {
      if (this.draw()) requestAnimationFrame(step);
      else setTimeout(step, REST_MS);
    };
    step();
  }
  canvas;
  look;
  isPaused = false;
  context;
  strip = document.createElement("canvas");
  stripContext;
  history = null;
  frameMs = 16;
  tileFrames = 8;
  colours;
  arrivals = [];
  heard = null;
  edge = 0;
  /** The canvas has to be drawn once more though nothing moves. */
  isStale = true;
  setLook(look) {
    this.look = look;
    this.colours = lookup(look.palette, look.isDark);
    this.isStale = true;
    if (this.history) this.paint([...Array(HISTORY_FRAMES).keys()].map((i) => this.history.end - 1 - i));
  }
  begin(mel, tileFrames) {
    this.history = new History(mel.n_mels);
    this.frameMs = frameS(mel) * 1e3;
    this.tileFrames = tileFrames;
    this.edge = 0;
    this.end();
    this.strip.width = HISTORY_FRAMES;
    this.strip.height = mel.n_mels;
  }
  /** Stop the movement at the end of a stream. */
  end() {
    this.arrivals = [];
    this.heard = null;
    this.isStale = true;
  }
  putTile(firstFrame, frames, width, pixels) {
    this.history?.putTile(firstFrame, frames, width, pixels);
    this.arrive(firstFrame + this.tileFrames);
  }
  putPause(firstFrame, column) {
    this.history?.putPause(firstFrame, column);
    this.arrive(firstFrame + this.tileFrames);
  }
  /** The frame that was heard at a time. */
  setHeard(frame, atMs) {
    this.heard = frame === null ? null : { frame, atMs };
  }
  arrive(endFrame) {
    const atMs = performance.now();
    this.arrivals.push({ atMs, aheadMs: endFrame * this.frameMs - atMs });
    this.arrivals = this.arrivals.filter((each) => each.atMs > atMs - EDGE_WINDOW_MS).slice(-512);
  }
  /** The frame at the right edge: the stream's clock minus a tile, so that no column is empty. */
  edgeAt(nowMs) {
    if (!this.arrivals.length) return this.edge;
    const aheadMs = Math.max(...this.arrivals.map((each) => each.aheadMs));
    const target = (nowMs + aheadMs) / this.frameMs - this.tileFrames;
    const error = target - this.edge;
    const dt = this.frameMs;
    return Math.abs(error) > 64 ? target : this.edge + Math.max(0, error * Math.min(1, 8 / dt));
  }
  /** Returns whether the picture moves. */
  draw() {
    const { canvas, context, history: history2 } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width || !height) return false;
    const isResized = canvas.width !== width || canvas.height !== height;
    if (isResized) [canvas.width, canvas.height] = [width, height];
    const isAtRest = this.isPaused || !this.arrivals.length && !this.isStale;
    if (isAtRest && !isResized) return false;
    this.isStale = false;
    const nowMs = performance.now();
    if (!this.isPaused) this.edge = this.edgeAt(nowMs);
    const pictureHeight = height - AXIS_PX * ratio;
    context.clearRect(0, 0, width, height);
    context.fillStyle = hex(this.colours[0]);
    context.fillRect(0, 0, width, pictureHeight);
    if (!history2) return false;
    history2.fillPause(Math.ceil(this.edge) + this.tileFrames);
    this.paint(history2.takeChanges());
    const shownS = Math.min(Math.max(canvas.clientWidth / PX_PER_S, MIN_SHOWN_S), MAX_SHOWN_S);
    const shown = shownS * 1e3 / this.frameMs;
    const scale = width / shown;
    context.imageSmoothingEnabled = false;
    const heard = this.heard && this.heard.frame + (performance.timeOrigin + nowMs - this.heard.atMs) / this.frameMs;
    if (this.look.isStill) {
      const edge = Math.floor(this.edge);
      const start = edge - edge % Math.floor(shown);
      const whole = Math.floor(shown);
      this.copy(start - whole + (edge - start) + SWEEP_GAP_FRAMES, start, (frame) => (frame - start + whole) * scale, scale, pictureHeight);
      this.copy(start, edge, (frame) => (frame - start) * scale, scale, pictureHeight);
    } else {
      const xOf = (frame) => (frame - this.edge + shown) * scale;
      this.copy(Math.floor(this.edge - shown), Math.ceil(this.edge), xOf, scale, pictureHeight);
      this.drawSeconds(shown, xOf, ratio, pictureHeight);
      if (heard !== null && this.arrivals.length) this.drawHeard(Math.min(xOf(heard), width), ratio, pictureHeight);
    }
    return true;
  }
  /** Copy columns of the strip to the canvas; the strip is a ring. */
  copy(from, until, xOf, scale, height) {
    const { history: history2, context, strip } = this;
    from = Math.max(from, 0, history2.end - HISTORY_FRAMES);
    until = Math.min(until, history2.end);
    while (from < until) {
      const column = from % HISTORY_FRAMES;
      const count = Math.min(until - from, HISTORY_FRAMES - column);
      context.drawImage(strip, column, 0, count, strip.height, xOf(from), 0, count * scale, height);
      from += count;
    }
  }
  /** Draw columns of the history in the palette's colours. */
  paint(frames) {
    const history2 = this.history;
    const image = new ImageData(1, history2.bands);
    const pixels = new Uint32Array(image.data.buffer);
    for (const frame of frames) {
      if (frame < 0 || frame < history2.end - HISTORY_FRAMES) continue;
      const column = frame % HISTORY_FRAMES;
      const kind = history2.kinds[column];
      for (let row = 0; row < history2.bands; row++) {
        if (kind === Kind.lost) pixels[row] = this.colours[(row + frame) % 6 < 2 ? 140 : 20];
        else pixels[row] = this.colours[kind === Kind.nothing ? 0 : history2.values[column * history2.bands + row]];
      }
      this.stripContext.putImageData(image, column, 0);
    }
  }
  /** Draw the time axis in seconds of the stream. */
  drawSeconds(shown, xOf, ratio, height) {
    const { context } = this;
    const framesPerS = 1e3 / this.frameMs;
    context.font = `${11 * ratio}px ui-sans-serif, system-ui, sans-serif`;
    context.textBaseline = "middle";
    const soft = this.look.isDark ? "#a3a3ad" : "#5c5e68";
    for (let second = Math.max(0, Math.ceil((this.edge - shown) / framesPerS)); second * framesPerS < this.edge; second++) {
      const x = xOf(second * framesPerS);
      context.fillStyle = this.look.isDark ? "rgb(255 255 255 / 0.14)" : "rgb(0 0 0 / 0.12)";
      context.fillRect(Math.round(x), 0, ratio, height);
      context.fillStyle = soft;
      context.fillRect(Math.round(x), height, ratio, 5 * ratio);
      const label = `${Math.floor(second / 60)}:${String(second % 60).padStart(2, "0")}`;
      context.fillText(label, x + 4 * ratio, height + (AXIS_PX / 2 + 2) * ratio);
    }
  }
  /** Draw a line at the frame that is heard now. */
  drawHeard(x, ratio, height) {
    const { context } = this;
    context.fillStyle = this.look.isDark ? "#ffffff" : "#000000";
    context.fillRect(Math.round(x), 0, 1.5 * ratio, height);
    context.beginPath();
    context.moveTo(x - 5 * ratio, 0);
    context.lineTo(x + 6 * ratio, 0);
    context.lineTo(x + 0.75 * ratio, 7 * ratio);
    context.fill();
  }
};
function hex(colour) {
  const byte = (at) => (colour >> at & 255).toString(16).padStart(2, "0");
  return `#${byte(0)}${byte(8)}${byte(16)}`;
}

// src/parts.ts
var LABELLED_HZ = [100, 250, 500, 1e3, 2e3, 4e3, 7e3];
var MIN_LEVEL_DB = -60;
var METER_MS = 40;
var METER_TEXT_MS = 2e3;
var byId = (id) => document.getElementById(id);
function say(sentence, isProblem = false) {
  const line = byId("status");
  if (line.textContent === sentence) return;
  line.textContent = sentence;
  line.classList.toggle("problem", isProblem);
}
function labelBands(mel = USUAL_MEL) {
  const labels = LABELLED_HZ.filter((hz) => hz > mel.fmin_hz && hz < mel.fmax_hz).map((hz) => {
    const label = document.createElement("span");
    label.textContent = hz < 1e3 ? `${hz}` : `${hz / 1e3} k`;
    if (hz === LABELLED_HZ.at(-1)) label.textContent += "Hz";
    label.style.bottom = `${100 * (bandAt(hz, mel) + 0.5) / mel.n_mels}%`;
    return label;
  });
  byId("bands").replaceChildren(...labels);
}
function openSpectrogram(palette = null) {
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const stillness = matchMedia("(prefers-reduced-motion: reduce)");
  const look = () => ({
    isDark: darkness.matches,
    palette: palette?.value ?? "colour",
    isStill: stillness.matches
  });
  const spectrogram = new Spectrogram(byId("spectrogram"), look());
  for (const each of [darkness, stillness, palette]) each?.addEventListener("change", () => spectrogram.setLook(look()));
  return spectrogram;
}
var serverUrl = () => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
function linkPages(room2) {
  for (const link of document.querySelectorAll("nav a")) {
    link.hash = room2 ? new URLSearchParams({ room: room2 }).toString() : "";
  }
}
async function copyLink(address2, whoMayHaveIt) {
  const link = `${location.origin}${location.pathname}${writeAddress(address2)}`;
  const about = address2.token ? ` It holds the token: give it only to those who may ${whoMayHaveIt}.` : "";
  try {
    await navigator.clipboard.writeText(link);
    say(`Link copied.${about}`);
  } catch {
    say(`The link is ${link}.${about}`);
  }
}
function chosenProcessing() {
  const isChecked = (id) => byId(id).checked;
  return { echoCancellation: isChecked("echo"), noiseSuppression: isChecked("noise"), autoGainControl: isChecked("gain") };
}
function followProcessing(capture) {
  for (const id of ["echo", "noise", "gain"]) {
    byId(id).addEventListener("change", () => {
      capture()?.process(chosenProcessing()).catch((error) => say(error instanceof Error ? error.message : String(error), true));
    });
  }
}
var milliseconds = (value, step = 1) => value === null ? "\u2013" : `${Math.round(value / step) * step} ms`;
function showLevels(analyser, id = "level") {
  const level = byId(id);
  let saidMs = 0;
  const show = () => {
    const db = levelOf(analyser());
    level.firstElementChild.style.transform = `scaleX(${1 - db / MIN_LEVEL_DB})`;
    if (performance.now() - saidMs < METER_TEXT_MS) return;
    saidMs = performance.now();
    level.setAttribute("aria-valuenow", db.toFixed(0));
    level.setAttribute("aria-valuetext", db <= MIN_LEVEL_DB ? "silent" : `${db.toFixed(0)} decibels`);
  };
  show();
  setInterval(show, METER_MS);
}
function levelOf(analyser) {
  if (!analyser) return MIN_LEVEL_DB;
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return Math.max(MIN_LEVEL_DB, 20 * Math.log10(Math.max(peak, 1e-6)));
}

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
      const window2 = inside > 0 ? bessel0(KAISER_BETA * Math.sqrt(inside)) / bessel0(KAISER_BETA) : 0;
      return window2 * cutoff * (t ? Math.sin(Math.PI * cutoff * t) / (Math.PI * cutoff * t) : 1);
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

// src/sound.ts
var Sound = class _Sound {
  constructor(context, outlet, analyser, gain) {
    this.context = context;
    this.outlet = outlet;
    this.analyser = analyser;
    this.gain = gain;
    context.onstatechange = () => {
      if (this.isWanted && context.state !== "closed") void context.resume();
    };
  }
  context;
  outlet;
  analyser;
  gain;
  /** Whether the device shall play; a phone call, for example, may suspend it meanwhile. */
  isWanted = true;
  /** Opens the sound device; must be called from a click. Throws the message to show where it does not open. */
  static async open() {
    if (!("WebAssembly" in window)) {
      throw new Error("This browser has no WebAssembly, which the vocoder needs: the stream can be watched, not heard.");
    }
    if (!("AudioContext" in window)) throw new Error("This browser has no AudioContext: the stream can be watched, not heard.");
    let context;
    try {
      context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
    } catch {
      context = new AudioContext({ latencyHint: "interactive" });
    }
    void context.resume();
    const outlet = await openOutlet(context);
    const [analyser, gain] = [context.createAnalyser(), context.createGain()];
    analyser.fftSize = 2048;
    outlet.node.connect(analyser).connect(gain).connect(context.destination);
    return new _Sound(context, outlet, analyser, gain);
  }
  resume() {
    this.isWanted = true;
    void this.context.resume();
  }
  suspend() {
    this.isWanted = false;
    void this.context.suspend();
  }
  /** Set the volume, 0 to 1. */
  setVolume(share) {
    this.gain.gain.setTargetAtTime(share * share, this.context.currentTime, 0.02);
  }
  /** A new port from the worker to the ring. */
  openPort() {
    const { port1, port2 } = new MessageChannel();
    this.outlet.follow(port2);
    return port1;
  }
  get blockS() {
    return this.outlet.blockS;
  }
  /** Delay from the ring to the ear, with the block that waits while another plays. */
  get latencyS() {
    return 2 * this.blockS + (this.context.baseLatency || 0) + (this.context.outputLatency || 0);
  }
};

// src/listening.ts
function missing() {
  if (!("Worker" in window) || !("OffscreenCanvas" in window) || !("createImageBitmap" in window)) {
    return "This browser is too old for this page: it has no OffscreenCanvas, which decodes the pictures.";
  }
  return "WebSocket" in window ? "" : "This browser has no WebSocket, which carries the stream.";
}
var Listening = class {
  constructor(spectrogram, hearer) {
    this.spectrogram = spectrogram;
    this.hearer = hearer;
  }
  spectrogram;
  hearer;
  isOn = false;
  sound = null;
  worker = null;
  opening = null;
  volume = 1;
  /** Open the sound device, from a click; returns why the stream can only be watched, "" where it can be heard. */
  async open() {
    this.isOn = true;
    try {
      this.opening ??= Sound.open();
      this.sound = await this.opening;
    } catch (error) {
      this.opening = null;
      return error instanceof Error ? error.message : String(error);
    }
    if (this.wasStopped()) this.sound.suspend();
    else this.sound.resume();
    this.setVolume(this.volume);
    return "";
  }
  /** Listen to a room, with the sound device that `open` opened. */
  start(wanted) {
    this.worker ??= this.startWorker();
    const port = this.sound?.openPort() ?? null;
    const takenS = this.sound?.blockS ? this.sound.blockS + BROWSER_PLAYOUT.concealAtS : 0;
    const minBufferS2 = wanted.minBufferS + takenS;
    this.ask({ kind: "open", url: serverUrl(), ...wanted, minBufferS: minBufferS2, sound: port }, port ? [port] : []);
  }
  /** Leave the room. */
  stop() {
    this.isOn = false;
    this.ask({ kind: "close" });
    this.sound?.suspend();
    this.spectrogram.end();
  }
  /** Set the volume, 0 to 1. */
  setVolume(share) {
    this.volume = share;
    this.sound?.setVolume(share);
  }
  /** Checked after a wait: the button may have been pressed meanwhile. */
  wasStopped() {
    return !this.isOn;
  }
  startWorker() {
    const worker = new Worker("engine.js", { type: "module" });
    worker.onmessage = ({ data }) => this.take(data);
    worker.onerror = ({ message }) => {
      this.worker = null;
      if (this.isOn) this.hearer.onState("failed", `The background worker of this page failed (${message}); press the button to try again.`);
    };
    return worker;
  }
  ask(message, transfer = []) {
    this.worker?.postMessage(message, transfer);
  }
  take(message) {
    if (!this.isOn) return;
    const { spectrogram, hearer } = this;
    if (message.kind === "status") {
      if (message.state !== "playing") spectrogram.end();
      hearer.onState(message.state, message.detail);
    } else if (message.kind === "caveat") hearer.onCaveat(message.detail);
    else if (message.kind === "loading") hearer.onLoading(message.share);
    else if (message.kind === "stream") {
      spectrogram.begin(message.mel, message.tile.frames);
      labelBands(message.mel);
    } else if (message.kind === "tile") spectrogram.putTile(message.firstFrame, message.frames, message.width, message.pixels);
    else if (message.kind === "pause") spectrogram.putPause(message.firstFrame, message.pixels);
    else if (message.kind === "end") spectrogram.end();
    else if (message.kind === "figures") {
      spectrogram.setHeard(message.heardFrame, message.heardAtMs);
      if (this.sound) this.ask({ kind: "device", latencyS: this.sound.latencyS });
      hearer.onFigures(message);
    } else hearer.onRecorded(message);
  }
};

// src/speaking.ts
var Speaking = class {
  /** Publish what `capture` gives, and close it at the end. Messages after `stop` are those of recordings only. */
  constructor(capture, wanted, onMessage) {
    this.capture = capture;
    const { worker } = this;
    worker.onmessage = ({ data }) => {
      if (!this.isOver || data.kind === "recorded" || data.kind === "recordedTile") onMessage(data);
    };
    worker.onerror = ({ message }) => {
      const detail = `The background worker of this page failed (${message}).`;
      if (!this.isOver) onMessage({ kind: "status", state: "failed", detail, room: "" });
    };
    const { port, rateHz } = capture;
    worker.postMessage({ kind: "speak", url: serverUrl(), ...wanted, microphone: port, rateHz }, [port]);
  }
  capture;
  worker = new Worker("speaker.js", { type: "module" });
  isOver = false;
  /** End the stream; the worker ends when everything is sent. */
  stop() {
    this.isOver = true;
    this.worker.postMessage({ kind: "stop" });
    this.capture.close();
  }
};

// src/call.ts
var QUALITY = 52;
var [form, room, token] = [byId("form"), byId("room"), byId("token")];
var [callButton, muteButton, copyButton] = ["call", "mute", "copy"].map((id) => byId(id));
var volume = byId("volume");
var debug = {
  state: "idle",
  figures: null,
  isRecorded: false,
  samples: [],
  chunks: []
};
Object.assign(window, { audioAvif: debug });
var call = null;
var speaking = null;
var presses = 0;
var whyNoSound = "";
var isMute = false;
var isSilent = false;
var { minBufferS } = readAddress(location.hash);
var listening = new Listening(openSpectrogram(), {
  onState: (state, detail) => update(() => call?.hear(state, detail)),
  onCaveat: (detail) => update(() => whyNoSound = detail),
  onLoading: (share) => say(`Loading the voice: ${Math.floor(share * 4) * 25} % \u2026`),
  onFigures: showFigures,
  onRecorded: (message) => {
    if (message.kind === "recordedSamples") debug.chunks.push({ firstSample: message.firstSample, samples: [...message.samples] });
  }
});
var address = () => ({ room: room.value, token: token.value, minBufferS });
async function openCapture() {
  try {
    return await Microphone.open(chosenProcessing());
  } catch (error) {
    return new Silence(`You only listen. ${error instanceof Error ? error.message : String(error)}`);
  }
}
async function begin() {
  const lack = missing();
  if (lack) {
    say(lack, true);
    return;
  }
  const press = ++presses;
  call = new CallState(room.value);
  isSilent = false;
  update();
  byId("empty").hidden = true;
  history.replaceState(null, "", writeAddress(address()));
  byId("room-title").textContent = room.value;
  document.title = `${room.value} \xB7 audio-avif call`;
  const [caveat, capture] = await Promise.all([listening.open(), openCapture()]);
  if (press !== presses) {
    capture.close();
    return;
  }
  whyNoSound = caveat;
  capture.mute(isMute);
  speaking = new Speaking(capture, { rooms: callRooms(room.value), token: token.value, quality: QUALITY, isRecorded: debug.isRecorded }, take);
}
function hangUp(why = "") {
  presses++;
  speaking?.stop();
  speaking = null;
  listening.stop();
  call = null;
  debug.state = why ? "over" : "idle";
  say(why || "You have hung up.", !!why);
  showControls();
}
function take(message) {
  if (message.kind === "recorded") debug.samples.push(...message.samples);
  else if (message.kind === "status") update(() => spoken(message.state, message.detail, message.room));
  else if (message.kind === "figures") showSent(message);
}
function spoken(state, detail, ownRoom) {
  call?.speak(state, detail);
  if (!call?.mayListen) return;
  const wanted = { ...address(), model: "embedded", isRecorded: debug.isRecorded };
  listening.start({ ...wanted, room: otherRoom(room.value, ownRoom) });
  call.hear("trying", "");
}
function update(change = () => void 0) {
  change();
  if (!call) return;
  debug.state = call.presence;
  if (call.presence === "over") {
    hangUp(call.sentence);
    return;
  }
  const whyNotHeard = speaking?.capture.whySilent || (isSilent && !isMute ? "The microphone delivers silence: check whether it is muted." : "");
  const caveats = [whyNotHeard, whyNoSound].filter(Boolean);
  say([call.sentence, ...caveats].join(" "), call.isProblem || caveats.length > 0);
  showControls();
}
function showControls() {
  callButton.textContent = call ? "Hang up" : "Call";
  muteButton.setAttribute("aria-pressed", String(isMute));
  muteButton.textContent = isMute ? "Unmute" : "Mute";
  room.readOnly = token.readOnly = !!call;
}
function showFigures(figures) {
  debug.figures = figures;
  byId("delay").textContent = milliseconds(figures.delayMs, 10);
  byId("heard").textContent = `${figures.kbps.toFixed(1)} kbps`;
  byId("lost").textContent = String(figures.lostTiles);
}
function showSent(figures) {
  byId("sent").textContent = `${figures.kbps.toFixed(1)} kbps`;
  byId("dropped").textContent = String(figures.droppedTiles);
  byId("trip").textContent = milliseconds(figures.roundTripMs);
  if (figures.isMute !== isSilent) update(() => isSilent = figures.isMute);
}
function setVolume() {
  listening.setVolume(Number(volume.value) / 100);
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (call) hangUp();
  else void begin();
});
muteButton.addEventListener("click", () => {
  isMute = !isMute;
  speaking?.capture.mute(isMute);
  showControls();
});
volume.addEventListener("input", setVolume);
room.addEventListener("input", () => linkPages(room.value));
copyButton.addEventListener("click", () => void copyLink(address(), "call"));
window.addEventListener("hashchange", () => {
  if (call) hangUp();
  takeAddress();
});
function takeAddress() {
  const given = readAddress(location.hash);
  room.value = given.room || room.value;
  token.value = given.token || token.value;
  ({ minBufferS } = given);
  linkPages(room.value);
}
takeAddress();
setVolume();
labelBands();
showLevels(() => call ? listening.sound?.analyser ?? null : null);
showLevels(() => speaking?.capture.analyser ?? null, "own-level");
followProcessing(() => speaking?.capture ?? null);
say(missing() || (room.value ? `Press Call to talk in ${room.value}.` : ""), !!missing());
