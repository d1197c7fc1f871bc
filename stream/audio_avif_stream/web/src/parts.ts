/** Parts of all pages: the picture and its labels, level meters, the status line, the microphone's choices, links. */

import { type Address, writeAddress } from "./address.js";
import type { Capture, Processing } from "./capture.js";
import type { Palette } from "./colours.js";
import { USUAL_MEL } from "./config.js";
import { bandAt } from "./features.js";
import { Spectrogram } from "./spectrogram.js";

const LABELLED_HZ = [100, 250, 500, 1000, 2000, 4000, 7000];
const MIN_LEVEL_DB = -60;
const METER_MS = 40; // no more than an analyser holds
const METER_TEXT_MS = 2000;

/** The element with this id, which exists; the caller names its type. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- shorter than a cast at every call
export const byId = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

/** Show a message in the status line, which screen readers read out. */
export function say(sentence: string, isProblem = false): void {
  const line = byId("status");
  if (line.textContent === sentence) return;
  line.textContent = sentence;
  line.classList.toggle("problem", isProblem);
}

export function labelBands(mel = USUAL_MEL): void {
  const labels = LABELLED_HZ.filter((hz) => hz > mel.fmin_hz && hz < mel.fmax_hz).map((hz) => {
    const label = document.createElement("span");
    label.textContent = hz < 1000 ? `${hz}` : `${hz / 1000} k`;
    if (hz === LABELLED_HZ.at(-1)) label.textContent += "Hz";
    label.style.bottom = `${(100 * (bandAt(hz, mel) + 0.5)) / mel.n_mels}%`;
    return label;
  });
  byId("bands").replaceChildren(...labels);
}

/** The page's spectrogram, which follows the browser's settings and the choice of a palette, where there is one. */
export function openSpectrogram(palette: HTMLSelectElement | null = null): Spectrogram {
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const stillness = matchMedia("(prefers-reduced-motion: reduce)");
  const look = () => ({
    isDark: darkness.matches,
    palette: (palette?.value ?? "colour") as Palette,
    isStill: stillness.matches,
  });
  const spectrogram = new Spectrogram(byId<HTMLCanvasElement>("spectrogram"), look());
  for (const each of [darkness, stillness, palette]) each?.addEventListener("change", () => spectrogram.setLook(look()));
  return spectrogram;
}

/** The address for WebSocket connections to the server of this page. */
export const serverUrl = (): string => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}`;

/** The links to the other pages lead to the same room. */
export function linkPages(room: string): void {
  for (const link of document.querySelectorAll<HTMLAnchorElement>("nav a")) {
    link.hash = room ? new URLSearchParams({ room }).toString() : "";
  }
}

/** Copy the address of this page to the clipboard, or show it. */
export async function copyLink(address: Address, whoMayHaveIt: string): Promise<void> {
  const link = `${location.origin}${location.pathname}${writeAddress(address)}`;
  const about = address.token ? ` It holds the token: give it only to those who may ${whoMayHaveIt}.` : "";
  try {
    await navigator.clipboard.writeText(link);
    say(`Link copied.${about}`);
  } catch {
    say(`The link is ${link}.${about}`);
  }
}

/** The processing that the checkboxes ask for. */
export function chosenProcessing(): Processing {
  const isChecked = (id: string): boolean => byId<HTMLInputElement>(id).checked;
  return { echoCancellation: isChecked("echo"), noiseSuppression: isChecked("noise"), autoGainControl: isChecked("gain") };
}

/** Let the checkboxes change the processing of an open microphone, too. */
export function followProcessing(capture: () => Capture | null): void {
  for (const id of ["echo", "noise", "gain"]) {
    byId(id).addEventListener("change", () => {
      capture()
        ?.process(chosenProcessing())
        .catch((error: unknown) => say(error instanceof Error ? error.message : String(error), true));
    });
  }
}

/** Milliseconds as text, a dash where unknown. */
export const milliseconds = (value: number | null, step = 1): string =>
  value === null ? "–" : `${Math.round(value / step) * step} ms`;

/** Shows the recent peak level as a bar and, less often, as text. */
export function showLevels(analyser: () => AnalyserNode | null, id = "level"): void {
  const level = byId(id);
  let saidMs = 0;
  const show = (): void => {
    const db = levelOf(analyser());
    (level.firstElementChild as HTMLElement).style.transform = `scaleX(${1 - db / MIN_LEVEL_DB})`;
    if (performance.now() - saidMs < METER_TEXT_MS) return;
    saidMs = performance.now();
    level.setAttribute("aria-valuenow", db.toFixed(0));
    level.setAttribute("aria-valuetext", db <= MIN_LEVEL_DB ? "silent" : `${db.toFixed(0)} decibels`);
  };
  show();
  setInterval(show, METER_MS);
}

function levelOf(analyser: AnalyserNode | null): number {
  if (!analyser) return MIN_LEVEL_DB;
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return Math.max(MIN_LEVEL_DB, 20 * Math.log10(Math.max(peak, 1e-6)));
}
