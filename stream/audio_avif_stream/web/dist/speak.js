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
var USUAL_TILE = { frames: 8, log10_min: -5.5, log10_max: 1 };
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
  mute(isMute) {
    this.isMute = isMute;
    for (const track of this.stream.getTracks()) track.enabled = !isMute;
  }
  close() {
    this.isClosed = true;
    stop(this.stream);
    void this.context.close();
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
    const { canvas, context, history } = this;
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
    if (!history) return false;
    history.fillPause(Math.ceil(this.edge) + this.tileFrames);
    this.paint(history.takeChanges());
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
    const { history, context, strip } = this;
    from = Math.max(from, 0, history.end - HISTORY_FRAMES);
    until = Math.min(until, history.end);
    while (from < until) {
      const column = from % HISTORY_FRAMES;
      const count = Math.min(until - from, HISTORY_FRAMES - column);
      context.drawImage(strip, column, 0, count, strip.height, xOf(from), 0, count * scale, height);
      from += count;
    }
  }
  /** Draw columns of the history in the palette's colours. */
  paint(frames) {
    const history = this.history;
    const image = new ImageData(1, history.bands);
    const pixels = new Uint32Array(image.data.buffer);
    for (const frame of frames) {
      if (frame < 0 || frame < history.end - HISTORY_FRAMES) continue;
      const column = frame % HISTORY_FRAMES;
      const kind = history.kinds[column];
      for (let row = 0; row < history.bands; row++) {
        if (kind === Kind.lost) pixels[row] = this.colours[(row + frame) % 6 < 2 ? 140 : 20];
        else pixels[row] = this.colours[kind === Kind.nothing ? 0 : history.values[column * history.bands + row]];
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
  const spectrogram2 = new Spectrogram(byId("spectrogram"), look());
  for (const each of [darkness, stillness, palette]) each?.addEventListener("change", () => spectrogram2.setLook(look()));
  return spectrogram2;
}
var serverUrl = () => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
function linkPages(room2) {
  for (const link of document.querySelectorAll("nav a")) {
    link.hash = room2 ? new URLSearchParams({ room: room2 }).toString() : "";
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
  const show2 = () => {
    const db = levelOf(analyser());
    level.firstElementChild.style.transform = `scaleX(${1 - db / MIN_LEVEL_DB})`;
    if (performance.now() - saidMs < METER_TEXT_MS) return;
    saidMs = performance.now();
    level.setAttribute("aria-valuenow", db.toFixed(0));
    level.setAttribute("aria-valuetext", db <= MIN_LEVEL_DB ? "silent" : `${db.toFixed(0)} decibels`);
  };
  show2();
  setInterval(show2, METER_MS);
}
function levelOf(analyser) {
  if (!analyser) return MIN_LEVEL_DB;
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return Math.max(MIN_LEVEL_DB, 20 * Math.log10(Math.max(peak, 1e-6)));
}

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

// src/speak.ts
var [form, button] = [byId("form"), byId("speak")];
var [room, token, quality] = [byId("room"), byId("token"), byId("quality")];
var spectrogram = openSpectrogram();
var debug = {
  state: "idle",
  isRecorded: false,
  samples: [],
  tiles: []
};
Object.assign(window, { audioAvif: debug });
var speaking = null;
var isSpeaking = false;
var presses = 0;
async function speak() {
  const press = ++presses;
  isSpeaking = true;
  show();
  byId("empty").hidden = true;
  say("Getting ready \u2026");
  try {
    if (typeof WebAssembly !== "object" || !("OffscreenCanvas" in window)) {
      throw new Error("This browser is too old for this page (WebAssembly, OffscreenCanvas).");
    }
    const microphone = await Microphone.open(chosenProcessing());
    if (press !== presses) {
      microphone.close();
      return;
    }
    const wanted = { rooms: [room.value], token: token.value, quality: Number(quality.value), isRecorded: debug.isRecorded };
    speaking = new Speaking(microphone, wanted, take);
    spectrogram.begin(USUAL_MEL, USUAL_TILE.frames);
  } catch (error) {
    if (press === presses) stop2(error instanceof Error ? error.message : String(error));
  }
}
function stop2(why = "") {
  presses++;
  isSpeaking = false;
  speaking?.stop();
  speaking = null;
  spectrogram.end();
  debug.state = why ? "failed" : "idle";
  say(why || "Stopped.", !!why);
  show();
}
function show() {
  button.textContent = isSpeaking ? "Stop" : "Speak";
  room.readOnly = token.readOnly = isSpeaking;
  quality.disabled = isSpeaking;
}
function take(message) {
  if (message.kind === "recorded") debug.samples.push(...message.samples);
  else if (message.kind === "recordedTile") {
    const [still, pixels] = [[...message.still], [...message.pixels]];
    debug.tiles.push({ firstFrame: message.firstFrame, still, pixels, atMs: performance.now() });
  } else if (message.kind === "status") showState(message.state, message.detail);
  else if (message.kind === "tile") spectrogram.putTile(message.firstFrame, message.frames, message.width, message.pixels);
  else showFigures(message);
}
function showState(state, detail) {
  debug.state = state;
  if (state === "failed" || state === "taken") {
    stop2(detail);
    return;
  }
  const words = {
    trying: "Loading the encoder \u2026",
    connecting: `Connecting to ${room.value} \u2026`,
    playing: `On air in ${room.value}.`
  };
  say(words[state] ?? detail, state === "lost" || state === "refused");
}
function showFigures(figures) {
  byId("rate").textContent = `${figures.kbps.toFixed(1)} kbps`;
  const latencyS = speaking?.capture.latencyS ?? null;
  byId("device").textContent = milliseconds(latencyS === null ? null : latencyS * 1e3);
  byId("sent").textContent = String(figures.sentTiles);
  byId("dropped").textContent = String(figures.droppedTiles);
  byId("trip").textContent = milliseconds(figures.roundTripMs);
  if (debug.state !== "playing") return;
  if (figures.isMute) say("The microphone delivers silence: check whether it is muted.", true);
  else say(`On air in ${room.value}.`);
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (isSpeaking) stop2();
  else void speak();
});
room.addEventListener("input", () => linkPages(room.value));
var given = readAddress(location.hash);
room.value = given.room || room.value;
token.value = given.token || token.value;
linkPages(room.value);
labelBands();
showLevels(() => speaking?.capture.analyser ?? null);
followProcessing(() => speaking?.capture ?? null);
