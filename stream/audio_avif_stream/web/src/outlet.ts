/** The player's host: the AudioWorklet or, where a page may not use it, the page itself. */

import { Player } from "./player.js";

const MIN_BLOCK_S = 0.03; // the page may be late by this while drawing

export interface Outlet {
  readonly node: AudioNode;
  /** Samples per block. */
  readonly blockS: number;
  /** Play the samples of this port. */
  follow(worker: MessagePort): void;
}

/** Browsers give the AudioWorklet only to pages that came over HTTPS, or from localhost. */
export function openOutlet(context: AudioContext): Promise<Outlet> | Outlet {
  return "audioWorklet" in context ? openWorklet(context) : openScript(context);
}

async function openWorklet(context: AudioContext): Promise<Outlet> {
  await context.audioWorklet.addModule("worklet.js");
  const node = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
  return { node, blockS: 0, follow: (worker) => node.port.postMessage(worker, [worker]) };
}

/** Deprecated, but in every browser; it adds a block of delay. */
function openScript(context: AudioContext): Outlet {
  const player = new Player(context.sampleRate);
  const block = 2 ** Math.ceil(Math.log2(MIN_BLOCK_S * context.sampleRate));
  /* eslint-disable @typescript-eslint/no-deprecated -- the only player for a page without an AudioWorklet */
  const node = context.createScriptProcessor(block, 1, 1);
  node.onaudioprocess = ({ outputBuffer }) => player.fill(outputBuffer.getChannelData(0));
  /* eslint-enable @typescript-eslint/no-deprecated */
  return { node, blockS: block / context.sampleRate, follow: (worker) => player.follow(worker) };
}
