/** The messages between a page and its worker. */

import type { ModelName } from "./vocoder.js";

export interface Open {
  kind: "open";
  url: string;
  room: string;
  token: string;
  /** Port to the player's ring; without it the stream is only watched. */
  sound: MessagePort | null;
  model: ModelName;
  /** Minimum depth of the buffer. */
  minBufferS: number;
  /** Report every tile's bytes and all samples, for tests. */
  isRecorded: boolean;
}

export type ToWorker =
  | Open
  | { kind: "close" }
  /** Delay of the sound device in seconds. */
  | { kind: "device"; latencyS: number };

/** The state of a connection; the page has a text for each. */
export type State =
  | "trying" // testing the browser and loading the vocoder
  | "connecting"
  | "waiting" // no publisher, or no message for two seconds
  | "playing"
  | "ended" // the stream said bye
  | "lost" // the connection was lost; reconnecting
  | "refused" // the server rejects this page or all
  | "failed"; // an error that ends listening

/** The state of a publisher; "taken" is an end, too: another stream is in the room. */
export type PublisherState = State | "taken";

export interface Status {
  kind: "status";
  state: State;
  /** Details, if any. */
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
  /** Of those, the ones that came while too many others waited to be decoded. */
  leftOutTiles: number;
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
  | { kind: "caveat"; detail: string } // a problem that does not end the stream
  | { kind: "stream"; mel: import("./config.js").MelConfig; tile: import("./config.js").TileConfig; agent: string }
  | { kind: "tile"; firstFrame: number; frames: number; width: number; pixels: Uint8Array }
  | { kind: "pause"; firstFrame: number; pixels: Uint8Array }
  | { kind: "end" }
  | ({ kind: "figures" } & Figures)
  | { kind: "recordedTile"; sequence: number; still: Uint8Array; pixels: Uint8Array }
  | { kind: "recordedSamples"; firstSample: number; samples: Float32Array };
