/**
 * The AVIF container of a tile: its constant bytes come once, as a template, the rest with every tile.
 * As `audio_avif/still/boxes.py` and `template.py`; `docs/reference/wire.md` has the steps. Nothing here decodes pixels.
 */

import { TileError } from "./errors.js";

const SEQUENCE_HEADER = 1;
const TEMPORAL_DELIMITER = 2;
const FRAME = 6;
const HAS_SIZE = 0x02;
const ALLOWED_PROPERTIES = new Set(["ispe", "pixi", "av1C", "colr"]);

/** What a still declares about its pixels, and the byte offsets of its parts. */
export interface StillLayout {
  width: number;
  height: number;
  bitDepth: number;
  isMonochrome: boolean;
  ilocLengthAt: number;
  mdatSizeAt: number;
  frameAt: number;
  frameBodyAt: number;
}

interface Box {
  kind: string;
  at: number;
  end: number;
}

/** Reads a file; throws TileError at its end. */
class Bytes {
  private readonly view: DataView;

  constructor(readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  private check(at: number, size: number): void {
    if (at + size > this.data.length) throw new TileError("the AVIF still is truncated");
  }

  u8(at: number): number {
    this.check(at, 1);
    return this.data[at];
  }

  u16(at: number): number {
    this.check(at, 2);
    return this.view.getUint16(at);
  }

  u32(at: number): number {
    this.check(at, 4);
    return this.view.getUint32(at);
  }

  text(at: number): string {
    this.check(at, 4);
    return String.fromCharCode(...this.data.subarray(at, at + 4));
  }

  /** The boxes between two offsets; each must have a size and fit. */
  boxes(start: number, end: number): Box[] {
    const found: Box[] = [];
    for (let at = start; at < end; ) {
      const size = this.u32(at);
      const kind = this.text(at + 4);
      if (size < 8 || at + size > end) throw new TileError("a box of the AVIF still does not fit in its file");
      found.push({ kind, at: at + 8, end: at + size });
      at += size;
    }
    return found;
  }
}

/** The layout of an AVIF file with exactly one picture. Throws TileError for any other file. */
export function inspectStill(still: Uint8Array): StillLayout {
  const bytes = new Bytes(still);
  const boxes = bytes.boxes(0, still.length);
  if (boxes.map((box) => box.kind).join() !== "ftyp,meta,mdat") {
    throw new TileError("not an AVIF still of ftyp, meta and mdat boxes");
  }
  const [ftyp, meta, mdat] = boxes;
  if (bytes.text(ftyp.at) !== "avif") throw new TileError("the file's brand is not avif");
  const { ilocLengthAt, promised } = readMeta(bytes, meta, mdat);
  const { sequenceHeader, frameAt, frameBodyAt } = readUnits(bytes, mdat);
  const picture = readSequenceHeader(sequenceHeader);
  if (picture.width !== promised.width || picture.height !== promised.height) {
    throw new TileError("the still declares another size than its bitstream holds");
  }
  return { ...picture, ilocLengthAt, mdatSizeAt: mdat.at - 8, frameAt, frameBodyAt };
}

function readMeta(bytes: Bytes, meta: Box, mdat: Box): { ilocLengthAt: number; promised: { width: number; height: number } } {
  const children = new Map(bytes.boxes(meta.at + 4, meta.end).map((box) => [box.kind, box]));
  const [iloc, iinf, iprp] = ["iloc", "iinf", "iprp"].map((kind) => children.get(kind));
  if (!iloc || !iinf || !iprp) throw new TileError("the AVIF still lacks a pitm, iloc or iprp box");

  const items = bytes.boxes(iinf.at + 6, iinf.end);
  const isOne = bytes.u32(iinf.at) === 0 && bytes.u16(iinf.at + 4) === 1 && items.length === 1;
  if (!isOne || bytes.text(items[0].at + 8) !== "av01") {
    throw new TileError("the AVIF file does not hold exactly one AV1 picture");
  }

  // version and flags, offset and length sizes 4, no base offset, one item (id, data reference), one extent
  const isUsual =
    bytes.u32(iloc.at) === 0 &&
    bytes.u16(iloc.at + 4) === 0x4400 &&
    bytes.u16(iloc.at + 6) === 1 &&
    bytes.u16(iloc.at + 10) === 0 &&
    bytes.u16(iloc.at + 12) === 1;
  if (!isUsual) throw new TileError("the AVIF still has an unsupported layout");
  const offset = bytes.u32(iloc.at + 14);
  if (offset !== mdat.at || offset + bytes.u32(iloc.at + 18) !== mdat.end) {
    throw new TileError("the AVIF still's picture does not fill its mdat box");
  }

  const properties = bytes
    .boxes(iprp.at, iprp.end)
    .filter((box) => box.kind === "ipco")
    .flatMap((box) => bytes.boxes(box.at, box.end));
  if (!properties.every((box) => ALLOWED_PROPERTIES.has(box.kind))) {
    throw new TileError("the AVIF still has a transformation");
  }
  const sizes = properties.filter((box) => box.kind === "ispe");
  if (sizes.length !== 1) throw new TileError("the AVIF still does not declare exactly one size");
  const promised = { width: bytes.u32(sizes[0].at + 4), height: bytes.u32(sizes[0].at + 8) };
  return { ilocLengthAt: iloc.at + 18, promised };
}

/** One sequence header, then one frame that ends the file; otherwise only empty temporal delimiters. */
function readUnits(bytes: Bytes, mdat: Box): { sequenceHeader: Uint8Array; frameAt: number; frameBodyAt: number } {
  let sequenceHeader: Uint8Array | null = null;
  for (let at = mdat.at; at < mdat.end; ) {
    const unitAt = at;
    const header = bytes.u8(at++);
    const kind = (header >> 3) & 15;
    if ((header & ~0x78) !== HAS_SIZE) throw new TileError("an AV1 unit of the still has no size or carries an extension");
    let size = 0;
    for (let i = 0; ; i++) {
      if (i === 4) throw new TileError("an AV1 unit of the still is too long");
      if (at >= mdat.end) throw new TileError("the AVIF still is truncated");
      const byte = bytes.u8(at++);
      size += (byte & 0x7f) * 2 ** (7 * i);
      if (!(byte & 0x80)) break;
    }
    if (at + size > mdat.end) throw new TileError("an AV1 unit of the still does not fit in its file");
    if (kind === SEQUENCE_HEADER && !sequenceHeader) sequenceHeader = bytes.data.subarray(at, at + size);
    else if (kind === FRAME && sequenceHeader && at + size === mdat.end) {
      return { sequenceHeader, frameAt: unitAt, frameBodyAt: at };
    } else if (kind !== TEMPORAL_DELIMITER || size) {
      throw new TileError("the still's bitstream does not hold exactly one sequence header and one frame");
    }
    at += size;
  }
  throw new TileError("the still's bitstream holds no frame");
}

/** The reduced still picture header (AV1 specification 5.5). */
function readSequenceHeader(body: Uint8Array): { width: number; height: number; bitDepth: number; isMonochrome: boolean } {
  let at = 0;
  const take = (count: number): number => {
    let value = 0;
    for (; count > 0; count--, at++) {
      if (at >= 8 * body.length) throw new TileError("the AV1 sequence header is truncated");
      value = value * 2 + ((body[at >> 3] >> (7 - (at & 7))) & 1);
    }
    return value;
  };
  const profile = take(3);
  take(1); // still_picture
  if (!take(1)) throw new TileError("the picture is not coded as a still");
  take(5); // level
  const widthBits = take(4) + 1;
  const heightBits = take(4) + 1;
  const width = take(widthBits) + 1;
  const height = take(heightBits) + 1;
  take(6); // superblock size, filter intra, intra edge filter, superres, cdef, restoration
  const isHigh = take(1);
  const bitDepth = 8 + 2 * isHigh + (profile === 2 && isHigh ? 2 * take(1) : 0);
  return { width, height, bitDepth, isMonochrome: profile !== 1 && take(1) === 1 };
}

/** How many frame headers a tile's message can tell apart. */
export const MAX_FRAME_HEADERS = 128;

/**
 * All bytes of a still before its frame unit, with both lengths as they would be without that unit; and beginnings of
 * frame units' bodies, all of one length, of which a tile names one by its number.
 */
export class StillTemplate {
  constructor(
    readonly prefix: Uint8Array,
    readonly ilocLengthAt: number,
    readonly mdatSizeAt: number,
    readonly frameHeaders: readonly Uint8Array[] = [],
  ) {}

  /** Take the template from a still. Throws TileError for any other file. */
  static of(still: Uint8Array): StillTemplate {
    const { frameAt, ilocLengthAt, mdatSizeAt } = inspectStill(still);
    const prefix = still.slice(0, frameAt);
    const view = new DataView(prefix.buffer);
    for (const at of [ilocLengthAt, mdatSizeAt]) view.setUint32(at, view.getUint32(at) + frameAt - still.length);
    return new StillTemplate(prefix, ilocLengthAt, mdatSizeAt);
  }

  /** The body from which `rebuild` restores this still byte for byte, or null where it cannot. */
  strip(still: Uint8Array): Uint8Array | null {
    const body = still.subarray(inspectStill(still).frameBodyAt);
    const again = this.rebuild(body);
    return again.length === still.length && again.every((byte, i) => byte === still[i]) ? body : null;
  }

  /** The number of the frame header that a body begins with, and the rest of it; null and all of it where none fits. */
  shorten(body: Uint8Array): { header: number | null; payload: Uint8Array } {
    const fits = (header: Uint8Array): boolean => header.length < body.length && header.every((byte, i) => byte === body[i]);
    const header = this.frameHeaders.findIndex(fits);
    return header < 0 ? { header: null, payload: body } : { header, payload: body.subarray(this.frameHeaders[header].length) };
  }

  /** The whole AVIF still around a frame unit's body, or around what follows its frame header of that number. */
  rebuild(payload: Uint8Array, header: number | null = null): Uint8Array<ArrayBuffer> {
    const body = header === null ? payload : Uint8Array.of(...this.frameHeaders[header], ...payload);
    const frame = [(FRAME << 3) | HAS_SIZE];
    let length = body.length;
    for (; length > 0x7f; length >>= 7) frame.push((length & 0x7f) | 0x80);
    frame.push(length);
    const still = new Uint8Array(this.prefix.length + frame.length + body.length);
    still.set(this.prefix);
    still.set(frame, this.prefix.length);
    still.set(body, this.prefix.length + frame.length);
    const view = new DataView(still.buffer);
    for (const at of [this.ilocLengthAt, this.mdatSizeAt]) {
      view.setUint32(at, view.getUint32(at) + frame.length + body.length);
    }
    return still;
  }
}
