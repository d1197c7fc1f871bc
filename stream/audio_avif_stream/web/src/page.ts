/** The listening page: controls, messages and the worker's figures. */

import type { Palette } from "./colours.js";
import { RATE_HZ } from "./config.js";
import { openOutlet, type Outlet } from "./outlet.js";
import { byId, labelBands, say, showLevels } from "./parts.js";
import { BROWSER_PLAYOUT } from "./playout.js";
import type { Figures, FromWorker, State, ToWorker } from "./protocol.js";
import { Spectrogram } from "./spectrogram.js";
import type { ModelName } from "./vocoder.js";

const MAX_BUFFER_MS = 2000;

const [form, room, token] = [byId<HTMLFormElement>("form"), byId<HTMLInputElement>("room"), byId<HTMLInputElement>("token")];
const [listenButton, pauseButton, copyButton] = ["listen", "pause", "copy"].map((id) => byId<HTMLButtonElement>(id));
const [volume, palette, model] = [byId<HTMLInputElement>("volume"), byId<HTMLSelectElement>("palette"), byId<HTMLSelectElement>("model")];
const empty = byId("empty");

const darkness = matchMedia("(prefers-color-scheme: dark)");
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const look = () => ({ isDark: darkness.matches, palette: palette.value as Palette, isStill: stillness.matches });
const spectrogram = new Spectrogram(byId<HTMLCanvasElement>("spectrogram"), look());

/** For tests; with `isRecorded` set before Listen is pressed, all tiles and samples are kept. */
const debug = {
  state: "idle" as State | "idle",
  figures: null as Figures | null,
  isRecorded: false,
  tiles: [] as { sequence: number; still: number[]; pixels: number[] }[],
  chunks: [] as { firstSample: number; samples: number[]; atMs: number }[],
};
Object.assign(window, { audioAvif: debug });

let worker: Worker | null = null;
let sound: Sound | null = null;
let isListening = false;
let caveat = "";
let stateDetail = "";
let opening: Promise<Sound> | null = null;
let minBufferS = BROWSER_PLAYOUT.minS;

/** The path of the samples to the sound device: the ring, the meter, the volume. */
class Sound {
  private constructor(
    readonly context: AudioContext,
    private readonly outlet: Outlet,
    readonly analyser: AnalyserNode,
    readonly gain: GainNode,
  ) {}

  /** Opens the sound device; must be called from a click. Throws the message to show where it does not open. */
  static async open(): Promise<Sound> {
    if (!("AudioContext" in window)) throw new Error("This browser has no AudioContext: the stream can be watched, not heard.");
    let context: AudioContext;
    try {
      context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
    } catch {
      context = new AudioContext({ latencyHint: "interactive" }); // the player resamples
    }
    context.onstatechange = () => {
      if (isListening && context.state !== "closed") void context.resume(); // a phone call may have suspended it
    };
    void context.resume();
    const outlet = await openOutlet(context);
    const [analyser, gain] = [context.createAnalyser(), context.createGain()];
    analyser.fftSize = 1024;
    outlet.node.connect(analyser).connect(gain).connect(context.destination);
    return new Sound(context, outlet, analyser, gain);
  }

  /** A new port from the worker to the ring. */
  openPort(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.outlet.follow(port2);
    return port1;
  }

  get blockS(): number {
    return this.outlet.blockS;
  }

  /** Delay from the ring to the ear, with the block that waits while another plays. */
  get latencyS(): number {
    return 2 * this.blockS + (this.context.baseLatency || 0) + (this.context.outputLatency || 0);
  }
}

function ask(message: ToWorker, transfer: Transferable[] = []): void {
  worker?.postMessage(message, transfer);
}

/** The message about a feature that this browser lacks; "" for none. */
function missing(): string {
  if (!("Worker" in window) || !("OffscreenCanvas" in window) || !("createImageBitmap" in window)) {
    return "This browser is too old for this page: it has no OffscreenCanvas, which decodes the pictures.";
  }
  return "WebSocket" in window ? "" : "This browser has no WebSocket, which carries the stream.";
}

/** Checked after each wait: Stop may have been pressed meanwhile. */
const wasStopped = (): boolean => !isListening;

async function listen(): Promise<void> {
  const lack = missing();
  if (lack) {
    say(lack, true);
    return;
  }
  isListening = true;
  caveat = "";
  showListening();
  empty.hidden = true;
  say("Getting ready …");
  history.replaceState(null, "", linkHash());
  byId("room-title").textContent = room.value;
  document.title = `${room.value} · audio-avif`;
  try {
    if (!("WebAssembly" in window)) {
      throw new Error("This browser has no WebAssembly, which the vocoder needs: the stream can be watched, not heard.");
    }
    opening ??= Sound.open();
    sound = await opening;
    if (wasStopped()) return void sound.context.suspend();
    void sound.context.resume();
  } catch (error) {
    opening = null;
    caveat = error instanceof Error ? error.message : String(error);
  }
  if (wasStopped()) return;
  setVolume();
  if (!worker) {
    worker = new Worker("engine.js", { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => show(data);
    worker.onerror = ({ message }) => {
      worker = null;
      stop(`The background worker of this page failed (${message}); press Listen to try again.`);
    };
  }
  const port = sound?.openPort() ?? null;
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
  const asked = { room: room.value, token: token.value, model: model.value as ModelName, isRecorded: debug.isRecorded };
  const heldS = minBufferS + (sound?.blockS ? sound.blockS + BROWSER_PLAYOUT.concealAtS : 0); // it takes blocks whole
  ask({ kind: "open", url, ...asked, minBufferS: heldS, sound: port }, port ? [port] : []);
}

/** Leave the room; show the reason where the user did not ask for it. */
function stop(why = ""): void {
  isListening = false;
  ask({ kind: "close" });
  void sound?.context.suspend();
  spectrogram.end();
  debug.state = why ? "failed" : "idle";
  say(why || "Stopped.", !!why);
  showListening();
}

function showListening(): void {
  listenButton.textContent = isListening ? "Stop" : "Listen";
  pauseButton.disabled = !isListening;
  room.readOnly = token.readOnly = isListening;
  model.disabled = isListening;
  setPaused(false);
}

function setPaused(isPaused: boolean): void {
  spectrogram.isPaused = isPaused;
  pauseButton.setAttribute("aria-pressed", String(isPaused));
  pauseButton.textContent = isPaused ? "Resume" : "Pause";
  setVolume();
}

function setVolume(): void {
  if (!sound) return;
  const share = spectrogram.isPaused ? 0 : Number(volume.value) / 100;
  sound.gain.gain.setTargetAtTime(share * share, sound.context.currentTime, 0.02); // as ears hear it
}

function show(message: FromWorker): void {
  if (!isListening) return;
  if (message.kind === "status") showState(message.state, message.detail);
  else if (message.kind === "loading") say(`Loading the voice: ${Math.floor(message.share * 4) * 25} % …`);
  else if (message.kind === "caveat") {
    caveat = message.detail;
    showState(debug.state as State, stateDetail);
  } else if (message.kind === "stream") {
    spectrogram.begin(message.mel, message.tile.frames);
    labelBands(message.mel);
  } else if (message.kind === "tile") spectrogram.putTile(message.firstFrame, message.frames, message.width, message.pixels);
  else if (message.kind === "pause") spectrogram.putPause(message.firstFrame, message.pixels);
  else if (message.kind === "end") spectrogram.end();
  else if (message.kind === "figures") showFigures(message);
  else if (message.kind === "recordedTile") {
    debug.tiles.push({ sequence: message.sequence, still: [...message.still], pixels: [...message.pixels] });
  } else debug.chunks.push({ firstSample: message.firstSample, samples: [...message.samples], atMs: performance.now() });
}

function showState(state: State, detail: string): void {
  debug.state = state;
  stateDetail = detail;
  if (state === "failed") {
    stop(detail);
    return;
  }
  const words: Record<Exclude<State, "failed">, string> = {
    trying: "Getting ready …",
    connecting: `Connecting to ${room.value} …`,
    waiting: `Connected. Waiting for someone to publish in ${room.value}.`,
    playing: caveat || "Live.",
    ended: "The stream has ended. Waiting for the next one.",
    lost: detail,
    refused: detail,
  };
  const isProblem = state === "lost" || state === "refused";
  const isAsItIs = isProblem || state === "playing" || !caveat;
  say(isAsItIs ? words[state] : `${words[state]} ${caveat}`, isProblem || !!caveat);
  if (state !== "playing") spectrogram.end();
}

function showFigures(figures: Figures): void {
  debug.figures = figures;
  const count = new Intl.NumberFormat("en");
  const milliseconds = (value: number | null): string => (value === null ? "–" : `${Math.round(value / 10) * 10} ms`);
  byId("delay").textContent = milliseconds(figures.delayMs);
  byId("buffer").textContent = milliseconds(figures.bufferMs);
  byId("device").textContent = milliseconds(sound ? sound.latencyS * 1000 : null);
  const reason = figures.targetRaisedBy ? `, raised by ${figures.targetRaisedBy}` : "";
  byId("target").textContent = figures.targetMs === null ? "sound held ready" : `of ${milliseconds(figures.targetMs)}${reason}`;
  byId("received").textContent = count.format(figures.receivedTiles);
  byId("lost").textContent = count.format(figures.lostTiles);
  byId("concealed").textContent = `${(figures.concealedMs / 1000).toFixed(1)} s`;
  byId("rate").textContent = `${figures.kbps.toFixed(1)} kbps`;
  spectrogram.setHeard(figures.heardFrame, figures.heardAtMs);
  if (sound) ask({ kind: "device", latencyS: sound.latencyS });
}

function linkHash(): string {
  const parts = new URLSearchParams({ room: room.value });
  if (token.value) parts.set("token", token.value);
  if (minBufferS !== BROWSER_PLAYOUT.minS) parts.set("buffer", String(Math.round(minBufferS * 1000)));
  return `#${parts}`;
}

async function copyLink(): Promise<void> {
  const link = `${location.origin}${location.pathname}${linkHash()}`;
  const about = token.value ? " It holds the token: give it only to those who may listen." : "";
  try {
    await navigator.clipboard.writeText(link);
    say(`Link copied.${about}`);
  } catch {
    say(`The link is ${link}.${about}`);
  }
}

function readFragment(): void {
  const parts = new URLSearchParams(location.hash.slice(1)); // never sent to the server
  room.value = parts.get("room") ?? room.value;
  token.value = parts.get("token") ?? token.value;
  const bufferMs = Number(parts.get("buffer") || Number.NaN);
  if (bufferMs >= 0 && bufferMs <= MAX_BUFFER_MS) minBufferS = bufferMs / 1000;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (isListening) stop();
  else void listen();
});
pauseButton.addEventListener("click", () => setPaused(!spectrogram.isPaused));
volume.addEventListener("input", setVolume);
palette.addEventListener("change", () => spectrogram.setLook(look()));
darkness.addEventListener("change", () => spectrogram.setLook(look()));
stillness.addEventListener("change", () => spectrogram.setLook(look()));
copyButton.addEventListener("click", () => void copyLink());
window.addEventListener("hashchange", () => {
  if (isListening) stop();
  readFragment();
});

readFragment();
labelBands();
showLevels(() => (isListening && sound ? sound.analyser : null));
say(missing() || (room.value ? `Press Listen to hear ${room.value}.` : ""), !!missing());
