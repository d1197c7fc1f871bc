// From samples to messages.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  Counters,
  LogMelStream,
  Resampler,
  StillTemplate,
  TileCutter,
  USUAL_MEL,
  byeBytes,
  helloBytes,
  makeTemplate,
  parse,
  pingBytes,
  placeBytes,
  tileBytes,
} from "./built.js";

const TILE = { frames: 8, log10_min: -5.5, log10_max: 1 };
const bytes = (name) => new Uint8Array(readFileSync(new URL(`../../../../tests/data/wire/${name}`, import.meta.url)));

const HELLO = parse(bytes("good/hello.bin"), null, new Counters());
const read = (data) => parse(data, HELLO, new Counters());

test("what is written is what Python wrote", () => {
  for (const name of ["tile", "tile_last", "tile_whole_body", "tile_whole_still"]) {
    const data = bytes(`good/${name}.bin`);
    assert.deepEqual(tileBytes(read(data)), data);
  }
  assert.deepEqual(placeBytes(70_000, 560_000), bytes("good/place.bin"));
  assert.deepEqual(byeBytes({ tiles: 9, samples: 17_000 }), bytes("good/bye.bin"));
  assert.deepEqual(pingBytes(2_000_000, -5, -7_000_000), bytes("good/ping_negative.bin"));
  assert.deepEqual(read(helloBytes(HELLO)), HELLO);
});

test("a still is cut as Python cuts it", () => {
  const still = bytes("still.avif");
  const template = StillTemplate.of(still);
  assert.deepEqual(template, new StillTemplate(HELLO.template.prefix, HELLO.template.ilocLengthAt, HELLO.template.mdatSizeAt));
  const body = template.strip(still);
  assert.deepEqual(body, read(bytes("good/tile_whole_body.bin")).payload);
  const { header, payload } = HELLO.template.shorten(body);
  assert.deepEqual([header, payload], [1, read(bytes("good/tile.bin")).payload]);
  assert.deepEqual(HELLO.template.shorten(body.subarray(0, 5)), { header: null, payload: body.subarray(0, 5) });
  assert.deepEqual(template.shorten(body), { header: null, payload: body });
  const other = still.slice();
  other[15] ^= 1; // the minor version of ftyp
  assert.equal(template.strip(other), null);
});

test("log-mel is the same in pieces, and a tone lies in its band", () => {
  const tone = Float32Array.from({ length: 8000 }, (_, i) => 0.5 * Math.sin((2 * Math.PI * 1000 * i) / 16_000));
  const whole = new LogMelStream(USUAL_MEL);
  const once = [...whole.push(tone), ...whole.flush()];
  const stream = new LogMelStream(USUAL_MEL);
  const pieces = [];
  for (let at = 0; at < tone.length; at += 37) pieces.push(...stream.push(tone.subarray(at, at + 37)));
  pieces.push(...stream.flush());
  assert.equal(once.length, 1 + 8000 / 256 | 0);
  assert.deepEqual(pieces, once);
  assert.equal(once[10].indexOf(Math.max(...once[10])), 25);
});

test("frames are cut into tiles; the last repeats its last frame", () => {
  const cutter = new TileCutter(TILE);
  const frame = (level) => new Float32Array(80).fill(level);
  const tiles = cutter.push(Array.from({ length: 20 }, (_, i) => frame(-5.5 + i / 10)));
  tiles.push(...cutter.flush(), ...cutter.flush());
  assert.deepEqual(tiles.map(({ firstFrame, frames }) => [firstFrame, frames]), [[0, 8], [8, 8], [16, 4]]);
  assert.equal(tiles[0].pixels[0], 0);
  assert.equal(tiles[0].pixels[1], Math.round((0.1 / 6.5) * 255));
  assert.deepEqual([...tiles[2].pixels.slice(3, 8)], Array(5).fill(Math.round((1.9 / 6.5) * 255)));
});

test("48 kHz becomes 16 kHz, and what lies above 8 kHz is gone", () => {
  const power = (hz) => {
    const tone = Float32Array.from({ length: 24_000 }, (_, i) => Math.sin((2 * Math.PI * hz * i) / 48_000));
    const resampler = new Resampler(3);
    const out = [];
    for (let at = 0; at < tone.length; at += 128) out.push(...resampler.push(tone.subarray(at, at + 128)));
    assert.ok(Math.abs(out.length - 8000) <= 1);
    return out.slice(500, 7500).reduce((sum, x) => sum + x * x, 0) / 7000;
  };
  assert.ok(Math.abs(power(3000) - 0.5) < 0.01, `${power(3000)}`);
  assert.ok(power(9500) < 1e-5, `${power(9500)}`);
});

test("a template has the frame headers of a blank picture and of one with a white pixel", () => {
  const plain = StillTemplate.of(bytes("still.avif"));
  const template = makeTemplate((pixels) => plain.rebuild(Uint8Array.of(1, 2, 3, 4, pixels[40 * 8], 6)), 8, 80);
  assert.deepEqual(template.prefix, plain.prefix);
  assert.deepEqual(template.frameHeaders, [Uint8Array.of(1, 2, 3, 4, 0), Uint8Array.of(1, 2, 3, 4, 255)]);
});
