/** A call between two ends, without sockets or a page: its two rooms, and who is there. */

import type { PublisherState, State } from "./protocol.js";

/** The rooms of a call: an end publishes in one and listens to the other. */
export const callRooms = (name: string): string[] => [`${name}.1`, `${name}.2`];

/** The room of the other end. */
export function otherRoom(name: string, own: string): string {
  const [first, second] = callRooms(name);
  return own === first ? second : first;
}

/** Where a call is, for its page and for tests. */
export type Presence = "beginning" | "waiting" | "connected" | "gone" | "hung up" | "reconnecting" | "over";

interface Side {
  state: PublisherState;
  detail: string;
}

/** Says who is there, from the states of both directions. */
export class CallState {
  private own: Side = { state: "trying", detail: "" };
  private other: Side | null = null;
  private wasHeard = false;

  constructor(private readonly name: string) {}

  /** Take the state of the direction to the other end. */
  speak(state: PublisherState, detail: string): void {
    this.own = { state, detail };
  }

  /** Take the state of the direction from the other end. */
  hear(state: State, detail: string): void {
    this.other = { state, detail };
    if (state === "playing") this.wasHeard = true;
    else if (state === "ended") this.wasHeard = false;
  }

  /** Whether to begin to listen: this end publishes, and nothing was heard of the other direction. */
  get mayListen(): boolean {
    return this.own.state === "playing" && !this.other;
  }

  get presence(): Presence {
    const states = [this.own.state, this.other?.state];
    const is = (...wanted: PublisherState[]): boolean => states.some((state) => state && wanted.includes(state));
    if (is("taken", "failed")) return "over";
    if (is("lost", "refused")) return "reconnecting";
    if (this.own.state !== "playing" || !this.other || is("trying", "connecting")) return this.wasHeard ? "reconnecting" : "beginning";
    if (is("ended")) return "hung up";
    if (is("waiting")) return this.wasHeard ? "gone" : "waiting";
    return "connected";
  }

  /** Whether the user should know of a problem. */
  get isProblem(): boolean {
    return ["gone", "reconnecting", "over"].includes(this.presence);
  }

  get sentence(): string {
    const isWrong = ({ state }: Side): boolean => ["failed", "taken", "lost", "refused"].includes(state);
    const wrong = [this.own, this.other].find((side) => side && isWrong(side));
    const words: Record<Presence, string> = {
      beginning: this.own.state === "trying" ? "Getting ready …" : `Connecting to ${this.name} …`,
      waiting: `Waiting for the other end: open the link of ${this.name} there.`,
      connected: "Connected.",
      gone: "The other end has left without hanging up, or has lost its connection. Waiting for it …",
      "hung up": "The other end has hung up. Waiting for the next call.",
      reconnecting: wrong?.detail ?? "Connecting again …",
      over: this.own.state === "taken" ? `The call ${this.name} is full: two others are in it.` : (wrong?.detail ?? ""),
    };
    return words[this.presence];
  }
}
