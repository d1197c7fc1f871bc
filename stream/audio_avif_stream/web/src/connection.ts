/** The WebSocket to a relay: the handshake, pings, and coming back after the connection broke. */

import { WireError } from "./errors.js";
import type { State } from "./protocol.js";
import { CLOSE, type FromSender, ListenerProtocol, SUBPROTOCOL, pingBytes } from "./wire.js";

const FIRST_RETRY_S = 0.5;
const LONGEST_RETRY_S = 8;
const SILENCE_S = 2;
const PING_S = 1;
const NORMAL = 1000;
const FINAL: readonly number[] = [CLOSE.protocol, CLOSE.unauthorized, CLOSE.unknownRoom];

export interface Listener {
  /** A message came; seconds of `nowS`. */
  onMessage(message: FromSender, receivedS: number): void;
  onState(state: State, detail: string): void;
}

/** The token as a subprotocol, since a page can set no headers. */
export function bearer(token: string): string {
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(token)));
  return `audio-avif.bearer.${base64.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")}`;
}

/** A page is not told why a handshake failed; whether the server answers at all tells much of it. */
export async function whyRefused(): Promise<string> {
  try {
    await fetch("/health", { cache: "no-store" });
  } catch {
    return "";
  }
  return (
    "The server is there but did not let this page connect: it may be full, or may not know the address " +
    `${self.location.origin} (behind a proxy it must be started with --allow-origin). Trying again …`
  );
}

export class Connection {
  /** How far the server's clock is ahead of `nowS`, from the pong with the shortest round trip; null until known. */
  serverAheadS: number | null = null;

  private socket: WebSocket | null = null;
  private isClosed = false;
  private retryS = FIRST_RETRY_S;
  private lastMessageS = 0;
  private timers: number[] = [];
  private trips: { tripS: number; aheadS: number }[] = [];

  constructor(
    private readonly url: string,
    private readonly token: string,
    private readonly listener: Listener,
    private readonly nowS: () => number,
  ) {
    listener.onState("connecting", "");
    this.connect();
  }

  close(): void {
    this.isClosed = true;
    this.stopTimers();
    this.socket?.close(NORMAL);
  }

  private stopTimers(): void {
    for (const timer of this.timers) clearTimeout(timer); // of both kinds, the numbers being shared
    this.timers = [];
  }

  private connect(): void {
    this.stopTimers();
    const protocol = new ListenerProtocol();
    const socket = new WebSocket(this.url, this.token ? [SUBPROTOCOL, bearer(this.token)] : [SUBPROTOCOL]);
    let wasOpen = false;
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      wasOpen = true;
      this.trips = [];
      this.lastMessageS = this.nowS();
      this.ping();
      this.timers.push(self.setInterval(() => this.ping(), PING_S * 1000));
      this.timers.push(self.setInterval(() => this.watch(), 250));
    };
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (this.isClosed || socket !== this.socket) return;
      const receivedS = this.nowS();
      try {
        const message = protocol.receive(data);
        this.retryS = FIRST_RETRY_S;
        if (message.kind === "pong") this.takePong(message.pingSentUs / 1e6, message.receiverUs / 1e6, receivedS);
        else {
          if (message.kind !== "ping") this.lastMessageS = receivedS;
          this.listener.onMessage(message, receivedS);
        }
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        this.close();
        this.listener.onState("failed", `The server sent what this page does not understand: ${error.message}.`);
      }
    };
    socket.onclose = ({ code, reason }) => {
      if (!this.isClosed && socket === this.socket) void this.comeBack(code, reason, wasOpen);
    };
  }

  private async comeBack(code: number, reason: string, wasOpen: boolean): Promise<void> {
    this.stopTimers();
    if (FINAL.includes(code)) {
      this.isClosed = true;
      const words: Record<number, string> = {
        [CLOSE.unauthorized]: "The token is missing or wrong.",
        [CLOSE.unknownRoom]: "There is no room of this name here.",
      };
      this.listener.onState("failed", words[code] ?? `The server closed the connection: ${reason}.`);
      return;
    }
    const refusal = wasOpen ? "" : await whyRefused();
    if (this.isClosed) return;
    const waitS = this.retryS * (0.8 + 0.4 * Math.random());
    this.retryS = Math.min(2 * this.retryS, LONGEST_RETRY_S);
    const why = reason ? ` (${reason})` : "";
    this.listener.onState(refusal ? "refused" : "lost", refusal || `Connection lost${why}. Trying again …`);
    this.timers.push(self.setTimeout(() => this.connect(), waitS * 1000));
  }

  private ping(): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(pingBytes(this.nowS() * 1e6));
  }

  private takePong(pingS: number, serverS: number, nowS: number): void {
    this.trips = [...this.trips, { tripS: nowS - pingS, aheadS: serverS - (pingS + nowS) / 2 }].slice(-16);
    this.serverAheadS = this.trips.reduce((best, each) => (each.tripS < best.tripS ? each : best)).aheadS;
  }

  /** The publisher pings each second and a pause is told more often: after two seconds nothing comes. */
  private watch(): void {
    if (this.nowS() - this.lastMessageS > SILENCE_S) this.listener.onState("waiting", "");
  }
}
