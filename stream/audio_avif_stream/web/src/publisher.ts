/** The WebSocket of who publishes in a room: the sender's side of the protocol, over as many connections as it takes. */

import { bearer, whyRefused } from "./connection.js";
import { WireError } from "./errors.js";
import type { State } from "./protocol.js";
import { CLOSE, type Hello, SUBPROTOCOL, type Tile, byeBytes, helloBytes, parse, pingBytes, tileBytes } from "./wire.js";

const RETRY_S = [0.5, 1, 2, 4, 8];
const PING_S = 1;
const FIRST_PINGS = 5;
const FIRST_PING_S = 0.1;
const TRIPS = 16;
const MOST_UNSENT_BYTES = 4096; // about three seconds of tiles; more would come too late
export const END_S = 3;
const NORMAL = 1000;
const COMES_BACK: readonly number[] = [1001, 1006, 1011, 1012, 1013]; // the relay or the network went away

export class Publisher {
  sentTiles = 0;
  droppedTiles = 0;
  sentBytes = 0;
  /** When sample 0 was captured, in seconds of `nowS`. */
  sampleZeroS = 0;
  roundTripS: number | null = null;

  private socket: WebSocket | null = null;
  private isWelcome = false;
  private isOver = false;
  private attempts = 0;
  private timers: number[] = [];
  private trips: { tripS: number; aheadS: number }[] = [];

  constructor(
    private readonly url: string,
    private readonly token: string,
    private readonly hello: Hello,
    private readonly onState: (state: State, detail: string) => void,
    private readonly nowS: () => number,
  ) {
    onState("connecting", "");
    this.connect();
  }

  /** Whether a tile would be sent now. */
  get isReady(): boolean {
    return this.isWelcome && this.socket!.bufferedAmount < MOST_UNSENT_BYTES;
  }

  /** Send a tile, or drop it where none can be sent. */
  send(tile: Omit<Tile, "kind" | "sequence">): void {
    if (!this.isReady) {
      this.droppedTiles++;
      return;
    }
    this.socket!.send(tileBytes({ kind: "tile", sequence: this.sentTiles++, ...tile }));
    this.sentBytes += tile.payload.length;
  }

  /** The stream is over after so many samples; the relay closes when it has all of it. */
  end(samples: number): void {
    this.isOver = true;
    this.stopTimers();
    if (this.isWelcome) this.socket!.send(byeBytes({ tiles: this.sentTiles, samples }));
    const { socket } = this;
    self.setTimeout(() => socket?.close(NORMAL), this.isWelcome ? END_S * 1000 : 0);
  }

  private stopTimers(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers = [];
  }

  private connect(): void {
    this.stopTimers();
    const socket = new WebSocket(this.url, this.token ? [SUBPROTOCOL, bearer(this.token)] : [SUBPROTOCOL]);
    let wasOpen = false;
    this.socket = socket;
    this.isWelcome = false;
    this.trips = [];
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      wasOpen = true;
      socket.send(helloBytes(this.hello));
    };
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      try {
        this.take(typeof data === "string" ? new Uint8Array(0) : new Uint8Array(data));
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        this.fail(`The server sent what this page does not understand: ${error.message}.`);
        socket.close(CLOSE.protocol);
      }
    };
    socket.onclose = ({ code, reason }) => {
      this.isWelcome = false;
      this.stopTimers();
      if (!this.isOver) void this.comeBack(code, reason, wasOpen);
    };
  }

  private take(data: Uint8Array): void {
    const message = parse(data);
    if (message.kind === "welcome") {
      this.isWelcome = true;
      this.attempts = 0;
      for (let i = 0; i < FIRST_PINGS; i++) this.timers.push(self.setTimeout(() => this.ping(), i * FIRST_PING_S * 1000));
      this.timers.push(self.setInterval(() => this.ping(), PING_S * 1000));
      this.onState("playing", "");
    } else if (message.kind === "pong") {
      const [sentS, now] = [message.pingSentUs / 1e6, this.nowS()];
      const trip = { tripS: now - sentS, aheadS: message.receiverUs / 1e6 - (sentS + now) / 2 };
      this.trips = [...this.trips, trip].slice(-TRIPS);
      this.roundTripS = trip.tripS;
    }
  }

  private ping(): void {
    if (!this.isWelcome || !this.sampleZeroS) return;
    const best = this.trips.reduce((best, each) => (each.tripS < best.tripS ? each : best), { tripS: Infinity, aheadS: 0 });
    this.socket!.send(pingBytes(this.nowS() * 1e6, this.sampleZeroS * 1e6, best.aheadS * 1e6));
  }

  private async comeBack(code: number, reason: string, wasOpen: boolean): Promise<void> {
    if (wasOpen && !COMES_BACK.includes(code)) {
      const words: Record<number, string> = {
        [CLOSE.unauthorized]: "The token is missing or wrong.",
        [CLOSE.unknownRoom]: "There is no room of this name here.",
        [CLOSE.busy]: `The room is taken: ${reason}.`,
      };
      this.fail(words[code] ?? `The server closed the connection: ${reason}.`);
      return;
    }
    const refusal = wasOpen ? "" : await whyRefused();
    if (this.isOver) return;
    this.onState(refusal ? "refused" : "lost", refusal || "Connection lost. Trying again …");
    const waitS = RETRY_S[Math.min(this.attempts++, RETRY_S.length - 1)];
    this.timers.push(self.setTimeout(() => this.connect(), waitS * 1000));
  }

  private fail(detail: string): void {
    this.isOver = true;
    this.onState("failed", detail);
  }
}
