/** The speaking page: controls, messages, and the microphone's connection to the worker. */

import { readAddress } from "./address.js";
import { Microphone } from "./capture.js";
import { USUAL_MEL, USUAL_TILE } from "./config.js";
import {
  byId,
  chosenProcessing,
  followProcessing,
  labelBands,
  linkPages,
  milliseconds,
  openSpectrogram,
  say,
  showLevels,
} from "./parts.js";
import type { PublisherState } from "./protocol.js";
import type { FromSpeaker } from "./speaker.js";
import { Speaking } from "./speaking.js";

const [form, button] = [byId<HTMLFormElement>("form"), byId<HTMLButtonElement>("speak")];
const [room, token, quality] = [byId<HTMLInputElement>("room"), byId<HTMLInputElement>("token"), byId<HTMLSelectElement>("quality")];
const spectrogram = openSpectrogram();

/** For tests; with `isRecorded` set before Speak is pressed, all samples and tiles are kept. */
const debug = {
  state: "idle" as PublisherState | "idle",
  isRecorded: false,
  samples: [] as number[],
  tiles: [] as { firstFrame: number; still: number[]; pixels: number[]; atMs: number }[],
};
Object.assign(window, { audioAvif: debug });

let speaking: Speaking | null = null;
let isSpeaking = false;
let presses = 0; // a microphone opened by an earlier press is closed again

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
    const microphone = await Microphone.open(chosenProcessing());
    if (press !== presses) {
      microphone.close();
      return;
    }
    const wanted = { rooms: [room.value], token: token.value, quality: Number(quality.value), isRecorded: debug.isRecorded };
    speaking = new Speaking(microphone, wanted, take);
    spectrogram.begin(USUAL_MEL, USUAL_TILE.frames);
  } catch (error) {
    if (press === presses) stop(error instanceof Error ? error.message : String(error));
  }
}

/** Close the microphone; show the reason where the user did not ask for it. */
function stop(why = ""): void {
  presses++;
  isSpeaking = false;
  speaking?.stop();
  speaking = null;
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

function take(message: FromSpeaker): void {
  if (message.kind === "recorded") debug.samples.push(...message.samples);
  else if (message.kind === "recordedTile") {
    const [still, pixels] = [[...message.still], [...message.pixels]];
    debug.tiles.push({ firstFrame: message.firstFrame, still, pixels, atMs: performance.now() });
  } else if (message.kind === "status") showState(message.state, message.detail);
  else if (message.kind === "tile") spectrogram.putTile(message.firstFrame, message.frames, message.width, message.pixels);
  else showFigures(message);
}

function showState(state: PublisherState, detail: string): void {
  debug.state = state;
  if (state === "failed" || state === "taken") {
    stop(detail);
    return;
  }
  const words: Partial<Record<PublisherState, string>> = {
    trying: "Loading the encoder …",
    connecting: `Connecting to ${room.value} …`,
    playing: `On air in ${room.value}.`,
  };
  say(words[state] ?? detail, state === "lost" || state === "refused");
}

function showFigures(figures: Extract<FromSpeaker, { kind: "figures" }>): void {
  byId("rate").textContent = `${figures.kbps.toFixed(1)} kbps`;
  const latencyS = speaking?.capture.latencyS ?? null;
  byId("device").textContent = milliseconds(latencyS === null ? null : latencyS * 1000);
  byId("sent").textContent = String(figures.sentTiles);
  byId("dropped").textContent = String(figures.droppedTiles);
  byId("trip").textContent = milliseconds(figures.roundTripMs);
  if (debug.state !== "playing") return;
  if (figures.isMute) say("The microphone delivers silence: check whether it is muted.", true);
  else say(`On air in ${room.value}.`);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (isSpeaking) stop();
  else void speak();
});
room.addEventListener("input", () => linkPages(room.value));
const given = readAddress(location.hash);
room.value = given.room || room.value;
token.value = given.token || token.value;
linkPages(room.value);
labelBands();
showLevels(() => speaking?.capture.analyser ?? null);
followProcessing(() => speaking?.capture ?? null);
