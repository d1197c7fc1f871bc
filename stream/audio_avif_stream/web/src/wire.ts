/** The wire protocol without its I/O: messages to objects and back. As `audio_avif/link/messages.py`; `docs/reference/wire.md` is the byte table. */

import { MAX_REDUNDANCY, MAX_TILE_FRAMES, type MelConfig, type TileConfig, melOf, tileOf } from "./config.js";
import { MAX_FRAME_HEADERS, StillTemplate, inspectStill } from "./container.js";
import { Counters, MAX_COUNT, extended, short } from "./counters.js";
import { TileError, WireError } from "./errors.js";

export const SUBPROTOCOL = "audio-avif.v2";
export const VERSION = 2;
export const MAX_MESSAGE_BYTES = 65_536;
export const NOISE_LEVELS = 8;

const TILE = 0x02;
const STILL = 0x03;
const PAUSE = 0x06;
const BUNDLE = 0x07;
const SHORT_TILE = 0x80; // and the frame header's number
const COPY_HEAD_BYTES = 6;
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

/**
 * One tile: what follows a frame header of the hello's in the body of its AV1 frame unit, the whole body, or the whole
 * AVIF still. Its first `frames` columns are sound; with a `header` all of them.
 */
export interface Tile {
  kind: "tile";
  sequence: number;
  firstFrame: number;
  frames: number;
  payload: Uint8Array;
  isWholeStill: boolean;
  /** The number of the frame header that is left out of the payload; null where none is. */
  header: number | null;
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

/** Where the next packets lie, for one who cannot know it. */
export interface Place {
  kind: "place";
  sequence: number;
  firstFrame: number;
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

export type FromSender = Hello | Tile | Pause | Bundle | Place | Bye | Ping | Gap;
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
  const template = parseTemplate(rest);
  checkTemplate(template, tile.frames, mel.n_mels);
  const { live, report } = values;
  return { kind: "hello", mel, tile, template, session: label(values.session), live, report, agent: label(values.agent) };
}

function parseTemplate(data: Uint8Array): StillTemplate {
  if (data.length < 6) throw new WireError("the hello message ends before its template");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const [count, size] = [data[4], data[5]];
  if (count > MAX_FRAME_HEADERS || count > 0 !== size > 0) {
    throw new WireError(`the hello message has ${count} frame headers of ${size} bytes, which cannot be`);
  }
  const prefixAt = 6 + count * size;
  if (data.length < prefixAt) throw new WireError("the hello message ends within its frame headers");
  const headers = Array.from({ length: count }, (_, i) => data.slice(6 + i * size, 6 + (i + 1) * size));
  return new StillTemplate(data.slice(prefixAt), view.getUint16(0), view.getUint16(2), headers);
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

/** What a packet leaves out: what its stream's hello has told, and where the stream is. */
export interface Context {
  hello: Hello;
  counters: Counters;
}

const isTile = (kind: number): boolean => kind >= SHORT_TILE || kind === TILE || kind === STILL;

/** The tile of a place with the content of a message of that type. */
function tileWith(kind: number, sequence: number, firstFrame: number, content: Uint8Array, hello: Hello): Tile {
  const header = kind >= SHORT_TILE ? kind - SHORT_TILE : null;
  if (header !== null && header >= hello.template.frameHeaders.length) {
    throw new WireError(`tile ${sequence} begins with frame header ${header}, which the hello lacks`);
  }
  const frames = header === null ? (content.length && content[0]) : hello.tile.frames;
  const payload = header === null ? content.subarray(1) : content;
  if (!payload.length || frames < 1 || frames > MAX_TILE_FRAMES) throw new WireError(`tile ${sequence} is empty`);
  return { kind: "tile", sequence, firstFrame, frames, payload, isWholeStill: kind === STILL, header };
}

function parseTile(data: Uint8Array, { hello, counters }: Context): Tile {
  const reader = new Reader(data);
  const { sequence, firstFrame } = counters.extend(reader.u16(), reader.u16());
  return tileWith(data[0], sequence, firstFrame, reader.rest(), hello);
}

function parsePause(data: Uint8Array, { counters }: Context): Pause {
  const reader = new Reader(data);
  const { sequence, firstFrame } = counters.extend(reader.u16(), reader.u16());
  const frames = reader.u8();
  const levels = reader.bytes(NOISE_LEVELS);
  reader.end();
  if (frames < 1 || frames > MAX_TILE_FRAMES) throw new WireError(`pause ${sequence} is empty`);
  return { kind: "pause", sequence, firstFrame, frames, levels };
}

function parseBundle(data: Uint8Array, context: Context): Bundle {
  const reader = new Reader(data);
  const count = reader.u8();
  if (count < 1 || count > MAX_REDUNDANCY) throw new WireError("a bundle has too few or too many copies");
  const tileAt = 2 + count * COPY_HEAD_BYTES;
  if (data.length <= tileAt) throw new WireError("a bundle's parts do not fill it");
  const heads = Array.from({ length: count }, () => ({
    kind: reader.u8(),
    before: reader.u8(),
    framesBefore: reader.u16(),
    size: reader.u16(),
  }));
  let at = data.length - heads.reduce((sum, head) => sum + head.size, 0);
  if (at <= tileAt) throw new WireError("a bundle's parts do not fill it");
  const first = data.subarray(tileAt, at);
  if (first[0] !== PAUSE && !isTile(first[0])) throw new WireError("a bundle's first part is neither tile nor pause");
  if (!heads.every((head) => isTile(head.kind))) throw new WireError("a bundle's copies are not all tiles");
  const tile = first[0] === PAUSE ? parsePause(first, context) : parseTile(first, context);
  let { sequence, firstFrame } = tile;
  const copies = heads.map(({ kind, before, framesBefore, size }) => {
    sequence -= before;
    firstFrame -= framesBefore;
    if (!before || !framesBefore || sequence < 0 || firstFrame < 0) {
      throw new WireError(`the copies beside tile ${tile.sequence} are not older than it, newest first`);
    }
    at += size;
    return tileWith(kind, sequence, firstFrame, data.subarray(at - size, at), context.hello);
  });
  return { kind: "bundle", tile, copies };
}

function parsePlace(data: Uint8Array): Place {
  const reader = new Reader(data);
  const [sequence, firstFrame] = [reader.u64(), reader.u64()].map(Number);
  reader.end();
  if (Math.max(sequence, firstFrame) > MAX_COUNT) throw new WireError("the stream claims to be longer than can be");
  return { kind: "place", sequence, firstFrame };
}

function parseBye(data: Uint8Array): Bye {
  const reader = new Reader(data);
  const [tiles, samples] = [reader.u64(), reader.u64()].map(Number);
  reader.end();
  if (samples > MAX_SAMPLES || tiles > MAX_COUNT) throw new WireError("the stream claims more samples than can be");
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
  if (received < -1 || received > MAX_COUNT) throw new WireError("the receiver claims to have a tile that cannot be");
  const names = { vocoder: label(values.vocoder), agent: label(values.agent) };
  return { kind: "welcome", ...names, vocoderLatencySamples: latency, received };
}

/** On a packet near that sequence number. */
function parseReport(data: Uint8Array, near: number): Report {
  const reader = new Reader(data);
  const sequence = extended(reader.u16(), near);
  const [firstSample, receivedUs] = [reader.u64(), reader.u64()].map(Number);
  const durationsUs = [reader.u32(), reader.u32(), reader.u32(), reader.u32(), reader.u32()];
  reader.end();
  return { kind: "report", sequence, firstSample, receivedUs, durationsUs };
}

function parseReceipt(data: Uint8Array, near: number): Receipt {
  const reader = new Reader(data);
  const sequence = extended(reader.u16(), near);
  reader.end();
  return { kind: "receipt", sequence };
}

const CONTROL: Partial<Record<number, (data: Uint8Array) => Hello | Place | Bye | Ping | Gap | Welcome | Pong>> = {
  0x01: parseHello,
  0x04: parseBye,
  0x05: parsePing,
  0x08: parseGap,
  0x09: parsePlace,
  0x41: parseWelcome,
  0x45: parsePong,
};

const PACKETS: Partial<Record<number, (data: Uint8Array, context: Context) => Tile | Pause | Bundle>> = {
  [TILE]: parseTile,
  [STILL]: parseTile,
  [PAUSE]: parsePause,
  [BUNDLE]: parseBundle,
};

const ABOUT_PACKETS: Partial<Record<number, (data: Uint8Array, near: number) => Report | Receipt>> = {
  0x46: parseReport,
  0x47: parseReceipt,
};

/** One message of either end. Throws WireError; the stream cannot go on after it. */
export function parse(data: Uint8Array, hello: Hello | null, counters: Counters): Message {
  if (!data.length) throw new WireError("the peer sent a message without a byte in it");
  const control = CONTROL[data[0]];
  const aboutPacket = ABOUT_PACKETS[data[0]];
  const packet = data[0] >= SHORT_TILE ? parseTile : PACKETS[data[0]];
  if (!control && !aboutPacket && !packet) {
    throw new WireError(`the peer sent a message of unknown type 0x${data[0].toString(16).padStart(2, "0")}`);
  }
  if (data.length > MAX_MESSAGE_BYTES) {
    throw new WireError(`the peer sent a message of ${data.length} bytes; ${MAX_MESSAGE_BYTES} is the limit`);
  }
  if (control) return control(data);
  if (aboutPacket) return aboutPacket(data, counters.sequence);
  if (!hello) throw new WireError("the peer's first message is not a hello");
  return packet!(data, { hello, counters });
}

/** What a listener may be sent: a hello first, and tiles no wider than it says. */
export class ListenerProtocol {
  hello: Hello | null = null;
  private counters = new Counters();

  receive(data: ArrayBuffer | string): FromSender | Pong {
    if (typeof data === "string") throw new WireError("the peer sent a text message; this protocol is binary");
    const message = parse(new Uint8Array(data), this.hello, this.counters);
    if (message.kind === "hello") {
      this.hello = message;
      this.counters = new Counters();
    } else if (message.kind === "pong") return message;
    else if (message.kind === "welcome" || message.kind === "report" || message.kind === "receipt") {
      throw new WireError("the peer sent what only a receiver says");
    } else if (!this.hello && message.kind !== "gap") throw new WireError("the peer's first message is not a hello");
    else if (message.kind === "place") this.counters.moveTo(message.sequence, message.firstFrame);
    const tiles = tilesOf(message);
    for (const tile of tiles) {
      if (this.hello && tile.frames > this.hello.tile.frames) {
        throw new WireError(`tile ${tile.sequence} claims more frames than its picture has columns`);
      }
    }
    if (tiles.length) this.counters.advance(tiles[0].sequence, tiles[0].firstFrame);
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
  const { frameHeaders, prefix } = template;
  const templateAt = 4 + text.length;
  const prefixAt = templateAt + 6 + frameHeaders.reduce((sum, header) => sum + header.length, 0);
  const data = new Uint8Array(prefixAt + prefix.length);
  const view = new DataView(data.buffer);
  data.set([0x01, VERSION]);
  view.setUint16(2, text.length);
  data.set(text, 4);
  view.setUint16(templateAt, template.ilocLengthAt);
  view.setUint16(templateAt + 2, template.mdatSizeAt);
  data.set([frameHeaders.length, frameHeaders.length && frameHeaders[0].length], templateAt + 4);
  frameHeaders.forEach((header, i) => data.set(header, templateAt + 6 + i * header.length));
  data.set(prefix, prefixAt);
  return data;
}

export function tileBytes({ sequence, firstFrame, frames, payload, isWholeStill, header }: Tile): Uint8Array<ArrayBuffer> {
  const kind = isWholeStill ? STILL : header === null ? TILE : SHORT_TILE + header;
  const payloadAt = kind >= SHORT_TILE ? 5 : 6;
  const data = new Uint8Array(payloadAt + payload.length);
  const view = new DataView(data.buffer);
  data[0] = kind;
  view.setUint16(1, short(sequence));
  view.setUint16(3, short(firstFrame));
  if (kind < SHORT_TILE) data[5] = frames;
  data.set(payload, payloadAt);
  return data;
}

export function placeBytes(sequence: number, firstFrame: number): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(17);
  const view = new DataView(data.buffer);
  data[0] = 0x09;
  view.setBigUint64(1, BigInt(sequence));
  view.setBigUint64(9, BigInt(firstFrame));
  return data;
}

export function byeBytes({ tiles, samples }: Omit<Bye, "kind">): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(17);
  const view = new DataView(data.buffer);
  data[0] = 0x04;
  view.setBigUint64(1, BigInt(tiles));
  view.setBigUint64(9, BigInt(samples));
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
