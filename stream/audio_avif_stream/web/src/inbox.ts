/** The messages that a worker has not handled yet. */

import type { FromSender } from "./wire.js";

/** As many tiles as `TileQueue` holds; more could not be played. */
const CAPACITY = 128;

const isPacket = ({ kind }: FromSender): boolean => kind === "tile" || kind === "pause" || kind === "bundle";

/** A queue of bounded length: when it is full, the oldest packet or ping is left out. */
export class Inbox {
  /** Tiles and pauses that were left out; the gap in their numbers counts them as lost, too. */
  leftOutTiles = 0;
  private waiting: { message: FromSender; receivedS: number }[] = [];

  constructor(private readonly capacity = CAPACITY) {}

  put(message: FromSender, receivedS: number): void {
    this.waiting.push({ message, receivedS });
    if (this.waiting.length > this.capacity) this.leaveOut();
  }

  take(): { message: FromSender; receivedS: number } | undefined {
    return this.waiting.shift();
  }

  private leaveOut(): void {
    const index = this.waiting.findIndex(({ message }) => isPacket(message) || message.kind === "ping");
    const [{ message }] = this.waiting.splice(Math.max(0, index), 1);
    if (isPacket(message)) this.leftOutTiles++;
  }
}
