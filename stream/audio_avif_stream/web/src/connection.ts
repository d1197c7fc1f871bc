/** A listener's connections to a room: messages, and whether the room has a publisher. */

import { Link, PING_S } from "./link.js";
import type { State } from "./protocol.js";
import { CLOSE, type FromSender, ListenerProtocol, pingBytes } from "./wire.js";

const SILENT_S = 3; // the relay answers pings, so a longer silence means a dead path
const QUIET_S = 2; // publishers send pings every second and pause updates more often
const FINAL: readonly number[] = [CLOSE.protocol, CLOSE.unauthorized, CLOSE.unknownRoom];

export interface Listener {
  /** A message came at `nowS`. */
  onMessage(message: FromSender, receivedS: number): void;
  onState(state: State, detail: string): void;
}

export class Connection {
  private readonly link: Link;
  private protocol = new ListenerProtocol();
  private lastMessageS = 0;
  /** The session of which the end is still to come, "" where there is none. */
  private unfinished = "";

  constructor(
    url: string,
    token: string,
    private readonly listener: Listener,
    private readonly nowS: () => number,
  ) {
    const query = (): string => (this.unfinished ? `?unfinished=${encodeURIComponent(this.unfinished)}` : "");
    this.link = new Link(() => url + query(), token, SILENT_S, this, nowS);
  }

  /** The server's clock minus `nowS`; null until known. */
  get serverAheadS(): number | null {
    return this.link.serverAheadS;
  }

  close(): void {
    this.link.close();
  }

  onOpen(): void {
    this.protocol = new ListenerProtocol();
    this.lastMessageS = this.nowS();
    this.ping();
    this.link.every(PING_S, () => this.ping());
  }

  onMessage(data: ArrayBuffer | string, receivedS: number): void {
    const message = this.protocol.receive(data);
    if (message.kind === "pong") {
      this.link.takePong(message, receivedS);
      if (!this.protocol.hello) this.onState("waiting", ""); // a running stream's hello comes before any pong
      return;
    }
    if (message.kind === "hello") this.unfinished = message.session;
    if (message.kind === "bye") this.unfinished = "";
    if (message.kind !== "ping") this.lastMessageS = receivedS;
    this.listener.onMessage(message, receivedS);
  }

  /** The server answers, but sends no stream. */
  onTick(): void {
    const isAnswered = this.link.silenceS < 1.5 * PING_S;
    if (isAnswered && this.nowS() - this.lastMessageS > QUIET_S) this.onState("waiting", "");
  }

  whyFinal(code: number, reason: string): string | null {
    if (!FINAL.includes(code)) return null;
    const words: Record<number, string> = {
      [CLOSE.unauthorized]: "The token is missing or wrong.",
      [CLOSE.unknownRoom]: "There is no room of this name here.",
    };
    return words[code] ?? `The server closed the connection: ${reason}.`;
  }

  onState(state: State, detail: string): void {
    this.listener.onState(state, detail);
  }

  private ping(): void {
    this.link.send(pingBytes(this.nowS() * 1e6));
  }
}
