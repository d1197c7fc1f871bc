/** Parts of both pages: the labels beside the picture, the level meter, the status line. */

import { USUAL_MEL } from "./config.js";
import { bandAt } from "./features.js";

const LABELLED_HZ = [100, 250, 500, 1000, 2000, 4000, 7000];
const MIN_LEVEL_DB = -60;
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

/** Shows the recent peak level as a bar and, less often, as text. */
export function showLevels(analyser: () => AnalyserNode | null): void {
  const level = byId("level");
  let saidMs = 0;
  const step = (): void => {
    requestAnimationFrame(step);
    const db = levelOf(analyser());
    (level.firstElementChild as HTMLElement).style.transform = `scaleX(${1 - db / MIN_LEVEL_DB})`;
    if (performance.now() - saidMs < METER_TEXT_MS) return;
    saidMs = performance.now();
    level.setAttribute("aria-valuenow", db.toFixed(0));
    level.setAttribute("aria-valuetext", db <= MIN_LEVEL_DB ? "silent" : `${db.toFixed(0)} decibels`);
  };
  step();
}

function levelOf(analyser: AnalyserNode | null): number {
  if (!analyser) return MIN_LEVEL_DB;
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return Math.max(MIN_LEVEL_DB, 20 * Math.log10(Math.max(peak, 1e-6)));
}
