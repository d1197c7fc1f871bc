/** The listening page: controls, messages and the worker's figures. */

import { readAddress, writeAddress } from "./address.js";
import { Listening, missing } from "./listening.js";
import { byId, copyLink, labelBands, linkPages, milliseconds, openSpectrogram, say, showLevels } from "./parts.js";
import type { Figures, FromWorker, State } from "./protocol.js";
import type { ModelName } from "./vocoder.js";

const [form, room, token] = [byId<HTMLFormElement>("form"), byId<HTMLInputElement>("room"), byId<HTMLInputElement>("token")];
const [listenButton, pauseButton, copyButton] = ["listen", "pause", "copy"].map((id) => byId<HTMLButtonElement>(id));
const [volume, model] = [byId<HTMLInputElement>("volume"), byId<HTMLSelectElement>("model")];
const spectrogram = openSpectrogram(byId<HTMLSelectElement>("palette"));

/** For tests; with `isRecorded` set before Listen is pressed, all tiles and samples are kept. */
const debug = {
  state: "idle" as State | "idle",
  figures: null as Figures | null,
  isRecorded: false,
  tiles: [] as { sequence: number; still: number[]; pixels: number[] }[],
  chunks: [] as { firstSample: number; samples: number[]; atMs: number }[],
};
Object.assign(window, { audioAvif: debug });

let caveat = "";
let stateDetail = "";
let { minBufferS } = readAddress(location.hash);

const listening = new Listening(spectrogram, {
  onState: showState,
  onCaveat: (detail) => {
    caveat = detail;
    showState(debug.state as State, stateDetail);
  },
  onLoading: (share) => say(`Loading the voice: ${Math.floor(share * 4) * 25} % …`),
  onFigures: showFigures,
  onRecorded: record,
});

const address = () => ({ room: room.value, token: token.value, minBufferS });

async function listen(): Promise<void> {
  const lack = missing();
  if (lack) {
    say(lack, true);
    return;
  }
  const opening = listening.open();
  showListening();
  byId("empty").hidden = true;
  say("Getting ready …");
  history.replaceState(null, "", writeAddress(address()));
  byId("room-title").textContent = room.value;
  document.title = `${room.value} · audio-avif`;
  caveat = await opening;
  if (listening.isOn) listening.start({ ...address(), model: model.value as ModelName, isRecorded: debug.isRecorded });
}

/** Leave the room; show the reason where the user did not ask for it. */
function stop(why = ""): void {
  listening.stop();
  debug.state = why ? "failed" : "idle";
  say(why || "Stopped.", !!why);
  showListening();
}

function showListening(): void {
  const { isOn } = listening;
  listenButton.textContent = isOn ? "Stop" : "Listen";
  pauseButton.disabled = !isOn;
  room.readOnly = token.readOnly = isOn;
  model.disabled = isOn;
  setPaused(false);
}

function setPaused(isPaused: boolean): void {
  spectrogram.isPaused = isPaused;
  pauseButton.setAttribute("aria-pressed", String(isPaused));
  pauseButton.textContent = isPaused ? "Resume" : "Pause";
  setVolume();
}

function setVolume(): void {
  listening.setVolume(spectrogram.isPaused ? 0 : Number(volume.value) / 100);
}

function record(message: Extract<FromWorker, { kind: "recordedTile" | "recordedSamples" }>): void {
  if (message.kind === "recordedTile") {
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
}

function showFigures(figures: Figures): void {
  debug.figures = figures;
  const count = new Intl.NumberFormat("en");
  byId("delay").textContent = milliseconds(figures.delayMs, 10);
  byId("buffer").textContent = milliseconds(figures.bufferMs, 10);
  byId("device").textContent = milliseconds(listening.sound ? listening.sound.latencyS * 1000 : null, 10);
  const reason = figures.targetRaisedBy ? `, raised by ${figures.targetRaisedBy}` : "";
  byId("target").textContent = figures.targetMs === null ? "sound held ready" : `of ${milliseconds(figures.targetMs, 10)}${reason}`;
  byId("received").textContent = count.format(figures.receivedTiles);
  byId("lost").textContent = count.format(figures.lostTiles);
  byId("concealed").textContent = `${(figures.concealedMs / 1000).toFixed(1)} s`;
  byId("rate").textContent = `${figures.kbps.toFixed(1)} kbps`;
}

function takeAddress(): void {
  const given = readAddress(location.hash);
  room.value = given.room || room.value;
  token.value = given.token || token.value;
  ({ minBufferS } = given);
  linkPages(room.value);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (listening.isOn) stop();
  else void listen();
});
pauseButton.addEventListener("click", () => setPaused(!spectrogram.isPaused));
volume.addEventListener("input", setVolume);
room.addEventListener("input", () => linkPages(room.value));
copyButton.addEventListener("click", () => void copyLink(address(), "listen"));
window.addEventListener("hashchange", () => {
  if (listening.isOn) stop();
  takeAddress();
});

takeAddress();
labelBands();
showLevels(() => (listening.isOn ? (listening.sound?.analyser ?? null) : null));
say(missing() || (room.value ? `Press Listen to hear ${room.value}.` : ""), !!missing());
