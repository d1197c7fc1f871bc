/** The wire protocol without its I/O: messages to objects and back. As `audio_avif/link/messages.py`; `docs/reference/wire.md` is the byte table. */

import { MAX_REDUNDANCY, MAX_TILE_FRAMES, type MelConfig, type TileConfig, melOf, tileOf } from "./config.js";
import { StillTemplate, inspectStill } from "./container.js";
import { TileError, WireError } from "./errors.js";

export const SUBPROTOCOL = "audio-avif.v1";
export const VERSION = 1;
export const MAX_MESSAGE_BYTES = 65_536;
export const NOISE_LEVELS = 8;
export const TILE_HEADER_BYTES = 10;

const MAX_SAMPLES = 2 ** 53;
const MAX_CLOCK_US = 2n ** 62n;
const MAX_LATENCY_SAMPLES = 2 ** 24;

export const CLOSE = { protocol: 4000, busy: 4002, unauthorized: 4005, unknownRoom: 4006 } as const;

export interface Hello {
  kind: "hello";
  mel: MelConfig;
  tile: TileConfig;
  template: StillTemplate;
  session: string;
  live: boolean;
  report: boolean;
  agent: string;
}

/** One tile: the body of its AV1 frame unit, or the whole AVIF still. Its first `frames` columns are sound. */
export interface Tile {
  kind: "tile";
  sequence: number;
  firstFrame: number;
  frames: number;
  payload: Uint8Array;
  isWholeStill: boolean;
}

/** Background noise of this envelope, which goes on until the next message's first frame. */
export interface Pause {
  kind: "pause";
  sequence: number;
  firstFrame: number;
  frames: number;
  levels: Uint8Array;
}

/** A tile or pause with low-quality copies of tiles before it, newest first. */
export interface Bundle {
  kind: "bundle";
  tile: Tile | Pause;
  copies: Tile[];
}

export interface Bye {
  kind: "bye";
  tiles: number;
  samples: number;
}

/** The sender's clock: when it sent this, when it captured sample 0, and how far the receiver's clock is ahead. */
export interface Ping {
  kind: "ping";
  sentUs: number;
  sampleZeroUs: number;
  receiverAheadUs: number;
}

/** A relay did not send this listener so many messages. */
export interface Gap {
  kind: "gap";
  messages: number;
}

export interface Pong {
  kind: "pong";
  pingSentUs: number;
  receiverUs: number;
}

export interface Welcome {
  kind: "welcome";
  vocoder: string;
  vocoderLatencySamples: number;
  agent: string;
  received: number;
}

export interface Report {
  kind: "report";
  sequence: number;
  firstSample: number;
  receivedUs: number;
  durationsUs: number[];
}

export interface Receipt {
  kind: "receipt";
  sequence: number;
}

export type FromSender = Hello | Tile | Pause | Bundle | Bye | Ping | Gap;
export type FromReceiver = Pong | Welcome | Report | Receipt;
export type Message = FromSender | FromReceiver;

/** A message's bytes, of which no more can be read than there are. */
class Reader {
  at = 1;
  private readonly view: DataView;

  constructor(readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  private get name(): string {
    return `a message of type 0x${this.data[0].toString(16).padStart(2, "0")}`;
  }

  private take(size: number): number {
    const at = this.at;
    this.at += size;
    if (this.at > this.data.length) throw new WireError(`${this.name} is truncated: ${this.data.length} bytes`);
    return at;
  }

  u8 = (): number => this.view.getUint8(this.take(1));
  u16 = (): number => this.view.getUint16(this.take(2));
  u32 = (): number => this.view.getUint32(this.take(4));
  u64 = (): bigint => this.view.getBigUint64(this.take(8));
  i64 = (): bigint => this.view.getBigInt64(this.take(8));

  bytes(size: number): Uint8Array {
    const at = this.take(size);
    return this.data.subarray(at, at + size);
  }

  rest(): Uint8Array {
    return this.data.subarray(this.at);
  }

  end(): void {
    if (this.at < this.data.length) {
      throw new WireError(`${this.name} is ${this.data.length} bytes, longer than its kind`);
    }
  }
}

interface JsonTypes {
  object: Record<string, unknown>;
  string: string;
  boolean: boolean;
  number: number;
}

type JsonValues<T extends Record<string, keyof JsonTypes>> = { [Key in keyof T]: JsonTypes[T[Key]] };

const isObject = (value: unknown): value is JsonTypes["object"] =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Parse JSON that is an object, with values of these types under these keys. */
function jsonOf<const T extends Record<string, keyof JsonTypes>>(data: Uint8Array, types: T): JsonValues<T> {
  let values: unknown;
  try {
    values = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch {
    throw new WireError("a message holds JSON that cannot be read");
  }
  if (!isObject(values)) throw new WireError("a message holds JSON that is not an object");
  for (const [key, type] of Object.entries(types)) {
    const value = values[key];
    const fits = type === "object" ? isObject(value) : typeof value === type;
    const isWhole = typeof value !== "number" || Number.isInteger(value) || Math.abs(value) === Infinity; // 1e400 is read so
    if (!fits || !isWhole) {
      const name = { boolean: "bool", string: "str", object: "dict", number: "int" }[type];
      throw new WireError(`a message's '${key}' is missing or not of type ${name}`);
    }
  }
  return values as JsonValues<T>;
}

/** A peer's text as it may be shown: 64 characters of it, without control codes. */
function label(text: string): string {
  return Array.from(text).slice(0, 64).join("").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "");
}

function parseHello(data: Uint8Array): Hello {
  const reader = new Reader(data);
  const version = reader.u8();
  const jsonBytes = reader.u16();
  if (version !== VERSION) {
    throw new WireError(`the peer speaks version ${version} of the protocol; this page speaks ${VERSION}`);
  }
  const text = data.subarray(4, 4 + jsonBytes);
  const rest = data.subarray(4 + jsonBytes);
  const values = jsonOf(text, {
    mel: "object",
    tile: "object",
    session: "string",
    live: "boolean",
    report: "boolean",
    agent: "string",
  });
  const mel = melOf(values.mel);
  const tile = tileOf(values.tile);
  if (rest.length < 4) throw new WireError("the hello message ends before its template");
  const view = new DataView(rest.buffer, rest.byteOffset, rest.byteLength);
  const template = new StillTemplate(rest.slice(4), view.getUint16(0), view.getUint16(2));
  checkTemplate(template, tile.frames, mel.n_mels);
  const { live, report } = values;
  return { kind: "hello", mel, tile, template, session: label(values.session), live, report, agent: label(values.agent) };
}

function checkTemplate(template: StillTemplate, width: number, height: number): void {
  if (Math.max(template.ilocLengthAt, template.mdatSizeAt) + 4 > template.prefix.length) {
    throw new WireError("the template's length fields lie outside it");
  }
  let layout;
  try {
    layout = inspectStill(template.rebuild(new Uint8Array(1)));
  } catch (error) {
    if (error instanceof TileError) throw new WireError(`the template is no AVIF still: ${error.message}`);
    throw error;
  }
  const isWhereSaid =
    layout.ilocLengthAt === template.ilocLengthAt &&
    layout.mdatSizeAt === template.mdatSizeAt &&
    layout.frameAt === template.prefix.length;
  if (!isWhereSaid) throw new WireError("the template's fields are not where the hello message says");
  if (layout.width !== width || layout.height !== height || layout.bitDepth !== 8 || !layout.isMonochrome) {
    throw new WireError(
      `the template is of ${layout.width}x${layout.height} pixels at ${layout.bitDepth} bit, ` +
        `not ${width}x${height} monochrome at 8 bit as the hello message says`,
    );
  }
}

function parseTile(data: Uint8Array): Tile {
  const reader = new Reader(data);
  const [sequence, firstFrame, frames] = [reader.u32(), reader.u32(), reader.u8()];
  if (data.length === TILE_HEADER_BYTES || frames < 1 || frames > MAX_TILE_FRAMES) {
    throw new WireError(`tile ${sequence} is empty`);
  }
  return { kind: "tile", sequence, firstFrame, frames, payload: reader.rest(), isWholeStill: data[0] === 0x03 };
}

function parsePause(data: Uint8Array): Pause {
  const reader = new Reader(data);
  const [sequence, firstFrame, frames] = [reader.u32(), reader.u32(), reader.u8()];
  const levels = reader.bytes(NOISE_LEVELS);
  reader.end();
  if (frames < 1 || frames > MAX_TILE_FRAMES) throw new WireError(`pause ${sequence} is empty`);
  return { kind: "pause", sequence, firstFrame, frames, levels };
}

function parseBundle(data: Uint8Array): Bundle {
  const count = new Reader(data).u8();
  const parts: Uint8Array[] = [];
  let at = 2;
  while (at < data.length) {
    const size = data[at] * 256 + (data[at + 1] ?? 0);
    parts.push(data.subarray(at + 2, at + 2 + size));
    at += 2 + size;
  }
  if (at !== data.length || parts.length !== count || parts.some((part) => !part.length)) {
    throw new WireError("a bundle's parts do not fill it");
  }
  if (count < 2 || count > 1 + MAX_REDUNDANCY) throw new WireError("a bundle has too few or too many parts");
  const [first, ...others] = parts;
  if (![0x02, 0x03, 0x06].includes(first[0])) throw new WireError("a bundle's first part is neither tile nor pause");
  if (others.some((part) => part[0] !== 0x02 && part[0] !== 0x03)) {
    throw new WireError("a bundle's copies are not all tiles");
  }
  const tile = first[0] === 0x06 ? parsePause(first) : parseTile(first);
  const copies = others.map(parseTile);
  let newer: Tile | Pause = tile;
  for (const copy of copies) {
    if (newer.sequence <= copy.sequence || newer.firstFrame <= copy.firstFrame) {
      throw new WireError(`the copies beside tile ${tile.sequence} are not older than it, newest first`);
    }
    newer = copy;
  }
  return { kind: "bundle", tile, copies };
}

function parseBye(data: Uint8Array): Bye {
  const reader = new Reader(data);
  const [tiles, samples] = [reader.u32(), Number(reader.u64())];
  reader.end();
  if (samples > MAX_SAMPLES) throw new WireError("the stream claims more samples than can be");
  return { kind: "bye", tiles, samples };
}

function parsePing(data: Uint8Array): Ping {
  const reader = new Reader(data);
  const [sentUs, sampleZeroUs, receiverAheadUs] = [reader.u64(), reader.i64(), reader.i64()].map(Number);
  reader.end();
  return { kind: "ping", sentUs, sampleZeroUs, receiverAheadUs };
}

function parseGap(data: Uint8Array): Gap {
  const reader = new Reader(data);
  const messages = reader.u32();
  reader.end();
  return { kind: "gap", messages };
}

function parsePong(data: Uint8Array): Pong {
  const reader = new Reader(data);
  const [pingSentUs, receiverUs] = [reader.u64(), reader.u64()];
  reader.end();
  if (pingSentUs > MAX_CLOCK_US || receiverUs > MAX_CLOCK_US) {
    throw new WireError("the receiver's clock shows a time that cannot be");
  }
  return { kind: "pong", pingSentUs: Number(pingSentUs), receiverUs: Number(receiverUs) };
}

function parseWelcome(data: Uint8Array): Welcome {
  const values = jsonOf(data.subarray(1), {
    vocoder: "string",
    vocoder_latency_samples: "number",
    agent: "string",
    received: "number",
  });
  const { vocoder_latency_samples: latency, received } = values;
  if (latency < 0 || latency > MAX_LATENCY_SAMPLES) {
    throw new WireError("the receiver's vocoder claims a delay that cannot be");
  }
  if (received < -1 || received >= 2 ** 32) throw new WireError("the receiver claims to have a tile that cannot be");
  const names = { vocoder: label(values.vocoder), agent: label(values.agent) };
  return { kind: "welcome", ...names, vocoderLatencySamples: latency, received };
}

function parseReport(data: Uint8Array): Report {
  const reader = new Reader(data);
  const sequence = reader.u32();
  const [firstSample, receivedUs] = [reader.u64(), reader.u64()].map(Number);
  const durationsUs = [reader.u32(), reader.u32(), reader.u32(), reader.u32(), reader.u32()];
  reader.end();
  return { kind: "report", sequence, firstSample, receivedUs, durationsUs };
}

function parseReceipt(data: Uint8Array): Receipt {
  const reader = new Reader(data);
  const sequence = reader.u32();
  reader.end();
  return { kind: "receipt", sequence };
}

const FROM_SENDER: Partial<Record<number, (data: Uint8Array) => FromSender>> = {
  0x01: parseHello,
  0x02: parseTile,
  0x03: parseTile,
  0x04: parseBye,
  0x05: parsePing,
  0x06: parsePause,
  0x07: parseBundle,
  0x08: parseGap,
};

const FROM_RECEIVER: Partial<Record<number, (data: Uint8Array) => FromReceiver>> = {
  0x81: parseWelcome,
  0x85: parsePong,
  0x86: parseReport,
  0x87: parseReceipt,
};

/** One message of either end. Throws WireError; the stream cannot go on after it. */
export function parse(data: Uint8Array): Message {
  if (!data.length) throw new WireError("the peer sent a message without a byte in it");
  const parser = FROM_SENDER[data[0]] ?? FROM_RECEIVER[data[0]];
  if (!parser) {
    throw new WireError(`the peer sent a message of unknown type 0x${data[0].toString(16).padStart(2, "0")}`);
  }
  if (data.length > MAX_MESSAGE_BYTES) {
    throw new WireError(`the peer sent a message of ${data.length} bytes; ${MAX_MESSAGE_BYTES} is the limit`);
  }
  return parser(data);
}

/** What a listener may be sent: a hello first, and tiles no wider than it says. */
export class ListenerProtocol {
  hello: Hello | null = null;

  receive(data: ArrayBuffer | string): FromSender | Pong {
    if (typeof data === "string") throw new WireError("the peer sent a text message; this protocol is binary");
    const message = parse(new Uint8Array(data));
    if (message.kind === "hello") this.hello = message;
    else if (message.kind === "pong") return message;
    else if (message.kind === "welcome" || message.kind === "report" || message.kind === "receipt") {
      throw new WireError("the peer sent what only a receiver says");
    } else if (!this.hello && message.kind !== "gap") throw new WireError("the peer's first message is not a hello");
    for (const tile of tilesOf(message)) {
      if (this.hello && tile.frames > this.hello.tile.frames) {
        throw new WireError(`tile ${tile.sequence} claims more frames than its picture has columns`);
      }
    }
    return message;
  }
}

function tilesOf(message: FromSender): (Tile | Pause)[] {
  if (message.kind === "bundle") return [message.tile, ...message.copies];
  return message.kind === "tile" || message.kind === "pause" ? [message] : [];
}

export function helloBytes(hello: Hello): Uint8Array<ArrayBuffer> {
  const { mel, tile, session, live, report, agent, template } = hello;
  const text = new TextEncoder().encode(JSON.stringify({ mel, tile, session, live, report, agent }));
  const data = new Uint8Array(8 + text.length + template.prefix.length);
  const view = new DataView(data.buffer);
  data.set([0x01, VERSION]);
  view.setUint16(2, text.length);
  data.set(text, 4);
  view.setUint16(4 + text.length, template.ilocLengthAt);
  view.setUint16(6 + text.length, template.mdatSizeAt);
  data.set(template.prefix, 8 + text.length);
  return data;
}

export function tileBytes(tile: Tile): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(TILE_HEADER_BYTES + tile.payload.length);
  const view = new DataView(data.buffer);
  data[0] = tile.isWholeStill ? 0x03 : 0x02;
  view.setUint32(1, tile.sequence);
  view.setUint32(5, tile.firstFrame);
  data[9] = tile.frames;
  data.set(tile.payload, TILE_HEADER_BYTES);
  return data;
}

export function byeBytes({ tiles, samples }: Omit<Bye, "kind">): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(13);
  const view = new DataView(data.buffer);
  data[0] = 0x04;
  view.setUint32(1, tiles);
  view.setBigUint64(5, BigInt(samples));
  return data;
}

/** A listener, which has captured nothing, leaves all but the first field out. */
export function pingBytes(sentUs: number, sampleZeroUs = 0, receiverAheadUs = 0): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(25);
  const view = new DataView(data.buffer);
  data[0] = 0x05;
  view.setBigUint64(1, BigInt(Math.round(sentUs)));
  view.setBigInt64(9, BigInt(Math.round(sampleZeroUs)));
  view.setBigInt64(17, BigInt(Math.round(receiverAheadUs)));
  return data;
}
