/** The call page: it publishes in one room of a call and listens to the other. */

import { readAddress, writeAddress } from "./address.js";
import { CallState, type Presence, callRooms, otherRoom } from "./call_state.js";
import { type Capture, Microphone, Silence } from "./capture.js";
import { Listening, missing } from "./listening.js";
import {
  byId,
  chosenProcessing,
  copyLink,
  followProcessing,
  labelBands,
  linkPages,
  milliseconds,
  openSpectrogram,
  say,
  showLevels,
} from "./parts.js";
import type { Figures, PublisherState } from "./protocol.js";
import type { FromSpeaker } from "./speaker.js";
import { Speaking } from "./speaking.js";

const QUALITY = 52; // the usual pictures of the page to speak

const [form, room, token] = [byId<HTMLFormElement>("form"), byId<HTMLInputElement>("room"), byId<HTMLInputElement>("token")];
const [callButton, muteButton, copyButton] = ["call", "mute", "copy"].map((id) => byId<HTMLButtonElement>(id));
const volume = byId<HTMLInputElement>("volume");

/** For tests; with `isRecorded` set before Call is pressed, all samples of both directions are kept. */
const debug = {
  state: "idle" as Presence | "idle",
  figures: null as Figures | null,
  isRecorded: false,
  samples: [] as number[],
  chunks: [] as { firstSample: number; samples: number[] }[],
};
Object.assign(window, { audioAvif: debug });

let call: CallState | null = null;
let speaking: Speaking | null = null;
let presses = 0; // what an earlier press opened is closed again
let whyNoSound = "";
let isMute = false;
let isSilent = false;
let { minBufferS } = readAddress(location.hash);

const listening = new Listening(openSpectrogram(), {
  onState: (state, detail) => update(() => call?.hear(state, detail)),
  onCaveat: (detail) => update(() => (whyNoSound = detail)),
  onLoading: (share) => say(`Loading the voice: ${Math.floor(share * 4) * 25} % …`),
  onFigures: showFigures,
  onRecorded: (message) => {
    if (message.kind === "recordedSamples") debug.chunks.push({ firstSample: message.firstSample, samples: [...message.samples] });
  },
});

const address = () => ({ room: room.value, token: token.value, minBufferS });

/** The microphone, or silence: the other end must see that somebody is here, and a third that the call is full. */
async function openCapture(): Promise<Capture> {
  try {
    return await Microphone.open(chosenProcessing());
  } catch (error) {
    return new Silence(`You only listen. ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function begin(): Promise<void> {
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
  document.title = `${room.value} · audio-avif call`;
  const [caveat, capture] = await Promise.all([listening.open(), openCapture()]); // from the click, as browsers ask
  if (press !== presses) {
    capture.close();
    return;
  }
  whyNoSound = caveat;
  capture.mute(isMute);
  speaking = new Speaking(capture, { rooms: callRooms(room.value), token: token.value, quality: QUALITY, isRecorded: debug.isRecorded }, take);
}

/** Hang up; show the reason where the user did not ask for it. */
function hangUp(why = ""): void {
  presses++;
  speaking?.stop();
  speaking = null;
  listening.stop();
  call = null;
  debug.state = why ? "over" : "idle";
  say(why || "You have hung up.", !!why);
  showControls();
}

function take(message: FromSpeaker): void {
  if (message.kind === "recorded") debug.samples.push(...message.samples);
  else if (message.kind === "status") update(() => spoken(message.state, message.detail, message.room));
  else if (message.kind === "figures") showSent(message);
}

/** The room to listen to is known when the one to publish in is. */
function spoken(state: PublisherState, detail: string, ownRoom: string): void {
  call?.speak(state, detail);
  if (!call?.mayListen) return;
  const wanted = { ...address(), model: "embedded" as const, isRecorded: debug.isRecorded };
  listening.start({ ...wanted, room: otherRoom(room.value, ownRoom) });
  call.hear("trying", "");
}

/** Show what a change of the call's state means. */
function update(change: () => void = () => undefined): void {
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

function showControls(): void {
  callButton.textContent = call ? "Hang up" : "Call";
  muteButton.setAttribute("aria-pressed", String(isMute));
  muteButton.textContent = isMute ? "Unmute" : "Mute";
  room.readOnly = token.readOnly = !!call;
}

function showFigures(figures: Figures): void {
  debug.figures = figures;
  byId("delay").textContent = milliseconds(figures.delayMs, 10);
  byId("heard").textContent = `${figures.kbps.toFixed(1)} kbps`;
  byId("lost").textContent = String(figures.lostTiles);
}

function showSent(figures: Extract<FromSpeaker, { kind: "figures" }>): void {
  byId("sent").textContent = `${figures.kbps.toFixed(1)} kbps`;
  byId("dropped").textContent = String(figures.droppedTiles);
  byId("trip").textContent = milliseconds(figures.roundTripMs);
  if (figures.isMute !== isSilent) update(() => (isSilent = figures.isMute));
}

function setVolume(): void {
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

function takeAddress(): void {
  const given = readAddress(location.hash);
  room.value = given.room || room.value;
  token.value = given.token || token.value;
  ({ minBufferS } = given);
  linkPages(room.value);
}

takeAddress();
setVolume();
labelBands();
showLevels(() => (call ? (listening.sound?.analyser ?? null) : null));
showLevels(() => speaking?.capture.analyser ?? null, "own-level");
followProcessing(() => speaking?.capture ?? null);
say(missing() || (room.value ? `Press Call to talk in ${room.value}.` : ""), !!missing());
