/** A WebSocket to a relay that reconnects when it closes, falls silent or does not open. */

import { AwakeClock } from "./awake.js";
import { WireError } from "./errors.js";
import type { State } from "./protocol.js";
import { CLOSE, type Pong, SUBPROTOCOL } from "./wire.js";

const FIRST_RETRY_S = 0.5;
const LONGEST_RETRY_S = 4;
const FIRST_CONNECT_S = 10;
const RECONNECT_S = 2; // or three times as long as the first connection took: an attempt on a dead path never succeeds
const WATCH_S = 0.25;
const HEALTH_S = 2;
const TRIPS = 16;
const NORMAL = 1000;
export const PING_S = 1;

export interface LinkUser {
  /** A connection has opened. */
  onOpen(): void;
  /** A message came at `nowS`. Throws WireError for an invalid one, which ends the link. */
  onMessage(data: ArrayBuffer | string, receivedS: number): void;
  /** Called several times a second while a connection is open. */
  onTick?(): void;
  /** The message with which this close code ends the link, or null to reconnect. */
  whyFinal(code: number, reason: string): string | null;
  onState(state: State, detail: string): void;
}

/** The token as a subprotocol, since a web page cannot set headers. */
export function bearer(token: string): string {
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(token)));
  return `audio-avif.bearer.${base64.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`;
}

/** The likely reason for a failed handshake, which browsers do not tell: "" where the server does not answer at all. */
async function whyRefused(): Promise<string> {
  try {
    await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(HEALTH_S * 1000) });
  } catch {
    return "";
  }
  return (
    "The server is there but did not let this page connect: it may be full, or may not know the address " +
    `${self.location.origin} (behind a proxy it must be started with --allow-origin). Trying again …`
  );
}

export class Link {
  /** The server's clock minus `nowS`, from the pong with the shortest round trip; null until known. */
  serverAheadS: number | null = null;
  /** Round trip of the newest pong. */
  roundTripS: number | null = null;
  /** Seconds since the last message on this connection. */
  silenceS = 0;

  private socket: WebSocket | null = null;
  private isClosed = false;
  private retryS = FIRST_RETRY_S;
  private connectedInS: number | null = null;
  private heardS = 0;
  private timers: number[] = [];
  private trips: { tripS: number; aheadS: number }[] = [];
  private readonly awake: AwakeClock;

  /** Asks for `url` before each attempt. A connection without messages for `silentS` is dead: the user must ping it. */
  constructor(
    private readonly url: () => string,
    private readonly token: string,
    private readonly silentS: number,
    private readonly user: LinkUser,
    private readonly nowS: () => number,
  ) {
    this.awake = new AwakeClock(nowS);
    user.onState("connecting", "");
    this.connect();
  }

  /** Bytes not yet sent by the browser; infinite without a connection. */
  get unsentBytes(): number {
    return this.isOpen ? this.socket!.bufferedAmount : Infinity;
  }

  private get isOpen(): boolean {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Send a message if a connection is open. */
  send(message: Uint8Array<ArrayBuffer>): void {
    if (this.isOpen) this.socket!.send(message);
  }

  /** Stop reconnecting; close this connection after `afterS`, unless the server closes it before. */
  close(afterS = 0, code = NORMAL): void {
    this.isClosed = true;
    this.stopTimers();
    const { socket } = this;
    if (afterS) self.setTimeout(() => socket?.close(code), afterS * 1000);
    else socket?.close(code);
  }

  /** Call at an interval while this connection lasts. */
  every(seconds: number, callback: () => void): void {
    this.timers.push(self.setInterval(callback, seconds * 1000));
  }

  /** Call once, unless this connection ends before. */
  after(seconds: number, callback: () => void): void {
    this.timers.push(self.setTimeout(callback, seconds * 1000));
  }

  takePong(pong: Pong, nowS: number): void {
    const [pingS, serverS] = [pong.pingSentUs / 1e6, pong.receiverUs / 1e6];
    this.roundTripS = nowS - pingS;
    this.trips = [...this.trips, { tripS: this.roundTripS, aheadS: serverS - (pingS + nowS) / 2 }].slice(-TRIPS);
    this.serverAheadS = this.trips.reduce((best, each) => (each.tripS < best.tripS ? each : best)).aheadS;
  }

  private stopTimers(): void {
    for (const timer of this.timers) self.clearTimeout(timer); // timeouts and intervals share their numbers
    this.timers = [];
  }

  private connect(): void {
    this.stopTimers();
    const beganS = this.nowS();
    const socket = new WebSocket(this.url(), this.token ? [SUBPROTOCOL, bearer(this.token)] : [SUBPROTOCOL]);
    let wasOpen = false;
    this.socket = socket;
    this.hear();
    this.every(WATCH_S, () => this.watch());
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (this.isClosed) return;
      wasOpen = true;
      this.connectedInS ??= this.nowS() - beganS;
      this.trips = [];
      this.serverAheadS = null;
      this.hear();
      this.user.onOpen();
    };
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => this.take(data);
    socket.onclose = ({ code, reason }) => {
      if (!this.isClosed) void this.closed(code, reason, wasOpen);
    };
  }

  private hear(): void {
    this.heardS = this.awake.nowS();
    this.silenceS = 0;
  }

  private take(data: ArrayBuffer | string): void {
    if (this.isClosed) return;
    this.hear();
    try {
      this.user.onMessage(data, this.nowS());
      this.retryS = FIRST_RETRY_S;
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.fail(`The server sent what this page does not understand: ${error.message}.`);
    }
  }

  /** Drop a connection that is silent or does not open. */
  private watch(): void {
    this.silenceS = this.awake.nowS() - this.heardS;
    if (this.silenceS > this.patienceS) this.lose("The server does not answer. Trying again …");
    else if (this.isOpen) this.user.onTick?.();
  }

  private get patienceS(): number {
    if (this.isOpen) return this.silentS;
    if (this.connectedInS === null) return FIRST_CONNECT_S;
    return Math.min(FIRST_CONNECT_S, Math.max(RECONNECT_S, 3 * this.connectedInS));
  }

  private async closed(code: number, reason: string, wasOpen: boolean): Promise<void> {
    this.stopTimers();
    const final = this.user.whyFinal(code, reason);
    if (final !== null) {
      this.fail(final);
      return;
    }
    const refusal = wasOpen ? "" : await whyRefused();
    if (this.isClosed) return;
    if (refusal) this.lose(refusal, "refused");
    else this.lose(`Connection lost${reason ? ` (${reason})` : ""}. Trying again …`);
  }

  /** Drop this connection without waiting for the peer, and reconnect after a while. */
  private lose(detail: string, state: State = "lost"): void {
    const { socket } = this;
    this.socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    const waitS = this.retryS * (0.8 + 0.4 * Math.random());
    this.retryS = Math.min(2 * this.retryS, LONGEST_RETRY_S);
    this.stopTimers();
    this.after(waitS, () => this.connect());
    this.user.onState(state, detail);
  }

  private fail(detail: string): void {
    this.close(0, CLOSE.protocol);
    this.user.onState("failed", detail);
  }
}
