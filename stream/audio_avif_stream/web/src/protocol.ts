/** The messages between a page and its worker. */

import type { ModelName } from "./vocoder.js";

export interface Open {
  kind: "open";
  url: string;
  room: string;
  token: string;
  /** To the ring of the player; without it the stream is only watched. */
  sound: MessagePort | null;
  model: ModelName;
  /** How much sound is to be held ready at least. */
  leastBufferS: number;
  /** Tell every tile's bytes and all samples, for tests. */
  isRecorded: boolean;
}

export type ToWorker =
  | Open
  | { kind: "close" }
  /** What the sound device adds, in seconds. */
  | { kind: "device"; latencyS: number };

/** Where a connection stands; the words for it are the page's. */
export type State =
  | "trying" // the browser is tried and the vocoder loaded
  | "connecting"
  | "waiting" // nobody publishes, or nothing has come for two seconds
  | "playing"
  | "ended" // the stream said bye
  | "lost" // the connection broke and is tried again
  | "refused" // the server is there and lets nobody in, or not this page
  | "failed"; // it makes no sense to go on

export interface Status {
  kind: "status";
  state: State;
  /** A sentence where there is more to say. */
  detail: string;
}

export interface Figures {
  bufferMs: number | null;
  /** What the buffer aims at, and what raised that last. */
  targetMs: number | null;
  targetRaisedBy: "" | "jitter" | "copies";
  delayMs: number | null;
  receivedTiles: number;
  lostTiles: number;
  concealedMs: number;
  kbps: number;
  underruns: number;
  /** Frames of the stream, and when that was, in milliseconds since 1970. */
  heardFrame: number | null;
  heardAtMs: number;
}

export type FromWorker =
  | Status
  | { kind: "loading"; share: number }
  | { kind: "caveat"; detail: string } // what is not as it should be, though the stream goes on
  | { kind: "stream"; mel: import("./config.js").MelConfig; tile: import("./config.js").TileConfig; agent: string }
  | { kind: "tile"; firstFrame: number; frames: number; width: number; pixels: Uint8Array }
  | { kind: "pause"; firstFrame: number; pixels: Uint8Array }
  | { kind: "end" }
  | ({ kind: "figures" } & Figures)
  | { kind: "recordedTile"; sequence: number; still: Uint8Array; pixels: Uint8Array }
  | { kind: "recordedSamples"; firstSample: number; samples: Float32Array };
