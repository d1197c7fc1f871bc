/** A room's publisher: the sender's side of the protocol, across reconnections. */

import { WireError } from "./errors.js";
import { Link, PING_S } from "./link.js";
import type { PublisherState, State } from "./protocol.js";
import { Counters } from "./counters.js";
import { CLOSE, type Hello, type Tile, byeBytes, helloBytes, parse, pingBytes, placeBytes, tileBytes } from "./wire.js";

const SILENT_S = 5; // longer than a listener's: pongs may wait behind tiles on a slow path
const FIRST_PINGS = 5;
const FIRST_PING_S = 0.1;
const MAX_UNSENT_BYTES = 4096; // about three seconds of tiles; more would come too late
export const END_S = 3;
const COMES_BACK: readonly number[] = [1001, 1006, 1011, 1012, 1013]; // close codes after which the relay may come back

export class Publisher {
  sentTiles = 0;
  droppedTiles = 0;
  sentBytes = 0;
  /** Capture time of sample 0 in seconds of `nowS`; 0 until there is one. */
  sampleZeroS = 0;

  private readonly link: Link;
  private isWelcome = false;
  private wasWelcome = false;
  private isTaken = false;
  private counters = new Counters();

  constructor(
    url: string,
    token: string,
    private readonly hello: Hello,
    private readonly tell: (state: PublisherState, detail: string) => void,
    private readonly nowS: () => number,
  ) {
    this.link = new Link(() => url, token, SILENT_S, this, nowS);
  }

  get roundTripS(): number | null {
    return this.link.roundTripS;
  }

  /** Whether a tile would be sent now. */
  get isReady(): boolean {
    return this.isWelcome && this.link.unsentBytes < MAX_UNSENT_BYTES;
  }

  /** Send a tile; drop and count it while none can be sent. */
  send(tile: Omit<Tile, "kind" | "sequence">): void {
    if (!this.isReady) {
      this.droppedTiles++;
      return;
    }
    const sequence = this.sentTiles++;
    const { firstFrame } = tile;
    if (!this.counters.reaches(sequence, firstFrame)) this.link.send(placeBytes(sequence, firstFrame));
    this.counters.moveTo(sequence, firstFrame);
    this.link.send(tileBytes({ kind: "tile", sequence, ...tile }));
    this.sentBytes += tile.payload.length;
  }

  /** End the stream after `samples` samples; the relay closes the connection when it has received all. */
  end(samples: number): void {
    if (this.isWelcome) this.link.send(byeBytes({ tiles: this.sentTiles, samples }));
    this.link.close(this.isWelcome ? END_S : 0);
  }

  onOpen(): void {
    this.isWelcome = false;
    this.counters = new Counters();
    this.link.send(helloBytes(this.hello));
  }

  onMessage(data: ArrayBuffer | string, receivedS: number): void {
    if (typeof data === "string") throw new WireError("the peer sent a text message; this protocol is binary");
    const message = parse(new Uint8Array(data), null, this.counters);
    if (message.kind === "pong") this.link.takePong(message, receivedS);
    else if (message.kind === "welcome") this.begin();
  }

  private begin(): void {
    this.isWelcome = this.wasWelcome = true;
    for (let i = 0; i < FIRST_PINGS; i++) this.link.after(i * FIRST_PING_S, () => this.ping());
    this.link.every(PING_S, () => this.ping());
    this.onState("playing", "");
  }

  private ping(): void {
    const zeroS = this.sampleZeroS || this.nowS();
    this.link.send(pingBytes(this.nowS() * 1e6, zeroS * 1e6, (this.link.serverAheadS ?? 0) * 1e6));
  }

  /** "taken" is told in place of "failed" where another stream was there first. */
  onState(state: State, detail: string): void {
    this.tell(state === "failed" && this.isTaken ? "taken" : state, detail);
  }

  /** After losing the room to another publisher during an outage, retry until it is free again. */
  whyFinal(code: number, reason: string): string | null {
    this.isTaken = code === CLOSE.busy && !this.wasWelcome;
    if (COMES_BACK.includes(code) || (code === CLOSE.busy && this.wasWelcome)) return null;
    const words: Record<number, string> = {
      [CLOSE.unauthorized]: "The token is missing or wrong.",
      [CLOSE.unknownRoom]: "There is no room of this name here.",
      [CLOSE.busy]: `The room is taken: ${reason}.`,
    };
    return words[code] ?? `The server closed the connection: ${reason}.`;
  }
}
