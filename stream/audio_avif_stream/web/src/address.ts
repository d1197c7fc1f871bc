/** What a page's address says after `#`, which browsers never send to a server. */

import { BROWSER_PLAYOUT } from "./playout.js";

const MAX_BUFFER_MS = 2000;

export interface Address {
  room: string;
  token: string;
  /** Minimum depth of the buffer, `BROWSER_PLAYOUT.minS` where the address says nothing usable. */
  minBufferS: number;
}

export function readAddress(hash: string): Address {
  const parts = new URLSearchParams(hash.slice(1));
  const bufferMs = Number(parts.get("buffer") || Number.NaN);
  const isBuffer = bufferMs >= 0 && bufferMs <= MAX_BUFFER_MS;
  return {
    room: parts.get("room") ?? "",
    token: parts.get("token") ?? "",
    minBufferS: isBuffer ? bufferMs / 1000 : BROWSER_PLAYOUT.minS,
  };
}

export function writeAddress({ room, token, minBufferS }: Address): string {
  const parts = new URLSearchParams({ room });
  if (token) parts.set("token", token);
  if (minBufferS !== BROWSER_PLAYOUT.minS) parts.set("buffer", String(Math.round(minBufferS * 1000)));
  return `#${parts}`;
}
