/** The speaking page: controls, messages, and the microphone's connection to the worker. */

import { RATE_HZ } from "./config.js";
import { byId, labelBands, say, showLevels } from "./parts.js";
import type { State } from "./protocol.js";
import type { FromSpeaker, ToSpeaker } from "./speaker.js";
import { Spectrogram } from "./spectrogram.js";
import { USUAL_MEL } from "./config.js";

const TILE_FRAMES = 8;

const [form, button] = [byId<HTMLFormElement>("form"), byId<HTMLButtonElement>("speak")];
const [room, token, quality] = [byId<HTMLInputElement>("room"), byId<HTMLInputElement>("token"), byId<HTMLSelectElement>("quality")];
const darkness = matchMedia("(prefers-color-scheme: dark)");
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const look = () => ({ isDark: darkness.matches, palette: "colour" as const, isStill: stillness.matches });
const spectrogram = new Spectrogram(byId<HTMLCanvasElement>("spectrogram"), look());

/** For tests; with `isRecorded` set before Speak is pressed, all samples and tiles are kept. */
const debug = {
  state: "idle" as State | "idle",
  isRecorded: false,
  samples: [] as number[],
  tiles: [] as { firstFrame: number; still: number[]; pixels: number[]; atMs: number }[],
};
Object.assign(window, { audioAvif: debug });

let worker: Worker | null = null;
let microphone: Microphone | null = null;
let isSpeaking = false;
let presses = 0; // a microphone opened by an earlier press is closed again

/** The open microphone. */
class Microphone {
  private constructor(
    readonly context: AudioContext,
    readonly analyser: AnalyserNode,
    readonly port: MessagePort,
    private readonly stream: MediaStream,
  ) {}

  /** Opens the microphone; throws the message to show where it does not open. */
  static async open(): Promise<Microphone> {
    if (!("mediaDevices" in navigator) || !("AudioWorkletNode" in window)) {
      throw new Error("Browsers open the microphone only for pages that came over HTTPS, or from localhost.");
    }
    let stream: MediaStream;
    try {
      const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...plain } });
    } catch (error) {
      const isRefused = error instanceof DOMException && error.name === "NotAllowedError";
      const sentence = isRefused ? "Access to the microphone was denied: allow it in the browser's address bar." : "No microphone could be opened.";
      throw new Error(sentence, { cause: error });
    }
    try {
      return await Microphone.of(stream);
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      throw error;
    }
  }

  private static async of(stream: MediaStream): Promise<Microphone> {
    let [context, source] = connect(stream, new AudioContext({ sampleRate: RATE_HZ }));
    if (!source) [context, source] = connect(stream, new AudioContext()); // the worker resamples
    if (!source) throw new Error("No microphone could be opened.");
    try {
      await context.audioWorklet.addModule("microphone.js");
    } catch (error) {
      void context.close();
      throw error;
    }
    const node = new AudioWorkletNode(context, "microphone", { channelCount: 1, channelCountMode: "explicit", numberOfOutputs: 0 });
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    source.connect(analyser);
    source.connect(node);
    const { port1, port2 } = new MessageChannel();
    node.port.postMessage(port2, [port2]);
    void context.resume();
    return new Microphone(context, analyser, port1, stream);
  }

  /** From the microphone to this page, as far as the browser says it. */
  get latencyS(): number | null {
    const { latency } = this.stream.getAudioTracks()[0]?.getSettings() as { latency?: number };
    return latency === undefined ? null : latency + (this.context.baseLatency || 0);
  }

  close(): void {
    for (const track of this.stream.getTracks()) track.stop();
    void this.context.close();
  }
}

/** A microphone's source, null where this context takes none of another rate. */
function connect(stream: MediaStream, context: AudioContext): [AudioContext, MediaStreamAudioSourceNode | null] {
  try {
    return [context, context.createMediaStreamSource(stream)];
  } catch {
    void context.close();
    return [context, null];
  }
}

async function speak(): Promise<void> {
  const press = ++presses;
  isSpeaking = true;
  show();
  byId("empty").hidden = true;
  say("Getting ready …");
  try {
    if (typeof WebAssembly !== "object" || !("OffscreenCanvas" in window)) {
      throw new Error("This browser is too old for this page (WebAssembly, OffscreenCanvas).");
    }
    const opened = await Microphone.open();
    if (press !== presses) {
      opened.close();
      return;
    }
    microphone = opened;
  } catch (error) {
    if (press === presses) stop(error instanceof Error ? error.message : String(error));
    return;
  }
  spectrogram.begin(USUAL_MEL, TILE_FRAMES);
  worker = new Worker("speaker.js", { type: "module" });
  worker.onmessage = ({ data }: MessageEvent<FromSpeaker>) => take(data, press === presses);
  worker.onerror = ({ message }) => {
    if (press === presses) stop(`The background worker of this page failed (${message}).`);
  };
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;
  const asked = { url, room: room.value, token: token.value, quality: Number(quality.value), isRecorded: debug.isRecorded };
  const { port, context } = microphone;
  worker.postMessage({ kind: "speak", ...asked, microphone: port, rateHz: context.sampleRate } satisfies ToSpeaker, [port]);
}

/** Close the microphone; show the reason where the user did not ask for it. */
function stop(why = ""): void {
  presses++;
  isSpeaking = false;
  worker?.postMessage({ kind: "stop" } satisfies ToSpeaker); // the worker ends when everything is sent
  worker = null;
  microphone?.close();
  microphone = null;
  spectrogram.end();
  debug.state = why ? "failed" : "idle";
  say(why || "Stopped.", !!why);
  show();
}

function show(): void {
  button.textContent = isSpeaking ? "Stop" : "Speak";
  room.readOnly = token.readOnly = isSpeaking;
  quality.disabled = isSpeaking;
}

/** Messages of a stopped worker are kept for tests, and not shown. */
function take(message: FromSpeaker, isCurrent: boolean): void {
  if (message.kind === "recorded") debug.samples.push(...message.samples);
  else if (message.kind === "recordedTile") {
    const [still, pixels] = [[...message.still], [...message.pixels]];
    debug.tiles.push({ firstFrame: message.firstFrame, still, pixels, atMs: performance.now() });
  } else if (!isCurrent) return;
  else if (message.kind === "status") showState(message.state, message.detail);
  else if (message.kind === "tile") spectrogram.putTile(message.firstFrame, message.frames, message.width, message.pixels);
  else showFigures(message);
}

function showState(state: State, detail: string): void {
  debug.state = state;
  if (state === "failed") {
    stop(detail);
    return;
  }
  const words: Partial<Record<State, string>> = {
    trying: "Loading the encoder …",
    connecting: `Connecting to ${room.value} …`,
    playing: `On air in ${room.value}.`,
  };
  say(words[state] ?? detail, state === "lost" || state === "refused");
}

function showFigures(figures: Extract<FromSpeaker, { kind: "figures" }>): void {
  byId("rate").textContent = `${figures.kbps.toFixed(1)} kbps`;
  const latencyS = microphone?.latencyS ?? null;
  byId("device").textContent = latencyS === null ? "–" : `${Math.round(latencyS * 1000)} ms`;
  byId("sent").textContent = String(figures.sentTiles);
  byId("dropped").textContent = String(figures.droppedTiles);
  byId("trip").textContent = figures.roundTripMs === null ? "–" : `${Math.round(figures.roundTripMs)} ms`;
  if (debug.state !== "playing") return;
  if (figures.isMute) say("The microphone delivers silence: check whether it is muted.", true);
  else say(`On air in ${room.value}.`);
}

function showLink(): void {
  const parts = new URLSearchParams({ room: room.value });
  byId<HTMLAnchorElement>("other").href = room.value ? `./#${parts}` : "./";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (isSpeaking) stop();
  else void speak();
});
room.addEventListener("input", showLink);
for (const media of [darkness, stillness]) media.addEventListener("change", () => spectrogram.setLook(look()));
const fragment = new URLSearchParams(location.hash.slice(1)); // never sent to the server
room.value = fragment.get("room") ?? room.value;
token.value = fragment.get("token") ?? token.value;
showLink();
labelBands();
showLevels(() => microphone?.analyser ?? null);
