// The golden packets of Python's parser, and what a listener may be sent.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Counters, ListenerProtocol, MAX_MESSAGE_BYTES, TileError, WireError, inspectStill, parse, pingBytes } from "./built.js";

const FOLDER = new URL("../../../../tests/data/wire/", import.meta.url);
const bytes = (name) => new Uint8Array(readFileSync(new URL(name, FOLDER)));
const HELLO = parse(bytes("good/hello.bin"), null, new Counters());
/** As at the beginning of the golden stream. */
const read = (data) => parse(data, HELLO, new Counters());
const good = (name) => read(bytes(`good/${name}.bin`));
const errors = JSON.parse(readFileSync(new URL("malformed/errors.json", FOLDER)));

// JSON as JavaScript reads it has no NaN and no infinity, and a long number is one too large.
const OTHER_WORDS = {
  "hello_mel_nan.bin": /JSON that cannot be read/,
  "hello_mel_infinite.bin": /JSON that cannot be read/,
  "hello_json_long_number.bin": /'mel' is missing/,
};

test("every good packet says what Python's says", () => {
  const { template, ...hello } = good("hello");
  assert.deepEqual(hello, {
    kind: "hello",
    mel: { rate_hz: 16000, n_fft: 1024, hop_samples: 256, n_mels: 80, fmin_hz: 80, fmax_hz: 7600, floor: 1e-10 },
    tile: { frames: 8, log10_min: -11, log10_max: 4 },
    session: "0123456789abcdef",
    live: true,
    report: false,
    agent: "golden/1",
  });
  assert.equal(template.prefix.length, 281);
  assert.equal(good("hello_file").agent, "grün");
  const { payload, ...tile } = good("tile");
  assert.deepEqual(tile, { kind: "tile", sequence: 7, firstFrame: 56, frames: 8, isWholeStill: false, header: 1 });
  assert.equal(payload.length, 24);
  const wholeBody = good("tile_whole_body");
  assert.deepEqual([wholeBody.header, wholeBody.payload.length], [null, 29]);
  assert.equal(good("tile_last").frames, 3);
  const whole = good("tile_whole_still");
  assert.deepEqual([whole.sequence, whole.firstFrame, whole.isWholeStill], [0xffff, 0xfffe, true]);
  assert.deepEqual(whole.payload, bytes("still.avif"));
  const levels = Uint8Array.from([10, 20, 30, 40, 50, 60, 70, 80]);
  assert.deepEqual({ ...good("noise") }, { kind: "pause", sequence: 9, firstFrame: 72, frames: 8, levels });
  const bundle = good("bundle");
  assert.deepEqual([bundle.tile.sequence, bundle.copies.map((copy) => copy.sequence)], [7, [6, 5]]);
  assert.deepEqual([good("bundle_pause").tile.kind, good("bundle_pause").copies.length], ["pause", 1]);
  assert.deepEqual(good("bye"), { kind: "bye", tiles: 9, samples: 17000 });
  assert.deepEqual(good("ping"), { kind: "ping", sentUs: 1_000_000, sampleZeroUs: 900_000, receiverAheadUs: 0 });
  assert.deepEqual(good("ping_negative"), { kind: "ping", sentUs: 2_000_000, sampleZeroUs: -5, receiverAheadUs: -7_000_000 });
  assert.deepEqual(good("gap"), { kind: "gap", messages: 12 });
  assert.deepEqual(good("place"), { kind: "place", sequence: 70_000, firstFrame: 560_000 });
  assert.deepEqual(good("pong"), { kind: "pong", pingSentUs: 1_000_000, receiverUs: 8_000_123 });
  const welcome = { kind: "welcome", vocoder: "griffin-lim", agent: "golden/1", vocoderLatencySamples: 768 };
  assert.deepEqual(good("welcome"), { ...welcome, received: -1 });
  assert.deepEqual(good("welcome_back"), { ...welcome, received: 41 });
  const durationsUs = [1, 200, 3_000, 40_000, 500_000];
  assert.deepEqual(good("report"), { kind: "report", sequence: 7, firstSample: 13_568, receivedUs: 8_100_000, durationsUs });
  assert.deepEqual(good("receipt"), { kind: "receipt", sequence: 7 });
});

test("no golden packet is left out", () => {
  for (const name of readdirSync(new URL("good", FOLDER))) read(bytes(`good/${name}`));
  const malformed = readdirSync(new URL("malformed", FOLDER)).filter((name) => name.endsWith(".bin"));
  assert.deepEqual(malformed.sort(), Object.keys(errors).sort());
});

for (const [name, words] of Object.entries(errors)) {
  test(`refuses ${name}`, () => {
    const data = bytes(`malformed/${name}`);
    const protocol = new ListenerProtocol();
    if (data[0] !== 0x01) protocol.receive(bytes("good/hello.bin").buffer);
    const isFromReceiver = data[0] >= 0x40 && data[0] < 0x80;
    assert.throws(() => (isFromReceiver ? read(data) : protocol.receive(data.buffer)), (error) => error instanceof WireError && (OTHER_WORDS[name] ?? new RegExp(words)).test(error.message));
  });
}

test("every truncation of every packet is refused", () => {
  for (const name of readdirSync(new URL("good", FOLDER)).filter((name) => !name.startsWith("tile"))) {
    const data = bytes(`good/${name}`);
    const end = name === "bundle.bin" ? 16 : data.length; // from there on a tile's payload is cut, which its picture tells
    for (let size = 0; size < end; size++) {
      assert.throws(() => read(data.slice(0, size)), WireError, `${name} cut to ${size}`);
    }
  }
});

test("a tile becomes the still it was cut from", () => {
  const { template } = good("hello");
  const still = bytes("still.avif");
  for (const name of ["tile", "tile_whole_body"]) {
    const { payload, header } = good(name);
    assert.deepEqual(template.rebuild(payload, header), still);
  }
  const { width, height, bitDepth, isMonochrome } = inspectStill(still);
  assert.deepEqual([width, height, bitDepth, isMonochrome], [8, 80, 8, true]);
  for (let size = 0; size < still.length; size++) assert.throws(() => inspectStill(still.slice(0, size)), TileError);
});

test("a listener hears a hello first, and nothing that only a receiver says", () => {
  const receive = (...names) => {
    const protocol = new ListenerProtocol();
    return names.map((name) => protocol.receive(bytes(`good/${name}.bin`).buffer).kind).at(-1);
  };
  assert.equal(receive("hello", "tile", "gap", "bye", "hello", "noise"), "pause");
  assert.equal(receive("pong"), "pong");
  assert.throws(() => receive("tile"), /first message is not a hello/);
  assert.throws(() => receive("hello", "welcome"), /only a receiver says/);
  assert.throws(() => new ListenerProtocol().receive("text"), /text message/);
  assert.throws(() => read(new Uint8Array(MAX_MESSAGE_BYTES + 1).fill(2)), /is the limit/);
});

test("a listener's ping is a ping", () => {
  assert.deepEqual(read(pingBytes(1234.4)), { kind: "ping", sentUs: 1234, sampleZeroUs: 0, receiverAheadUs: 0 });
});

const VECTORS = JSON.parse(readFileSync(new URL("../counters.json", FOLDER)));

for (const [name, steps] of Object.entries(VECTORS)) {
  test(`counters: ${name}`, () => {
    const counters = new Counters();
    for (const { place, packet, is } of steps) {
      if (place) counters.moveTo(...place);
      else {
        const { sequence, firstFrame } = counters.extend(...packet);
        assert.deepEqual([sequence, firstFrame], is);
        counters.advance(sequence, firstFrame);
      }
    }
  });
}

test("a listener finds the packets of a long stream by the place it is told, and of the next one from its hello on", () => {
  const protocol = new ListenerProtocol();
  const receive = (name) => protocol.receive(bytes(`good/${name}.bin`).buffer);
  receive("hello");
  assert.equal(receive("tile").sequence, 7);
  receive("place");
  assert.deepEqual([receive("tile").sequence, receive("noise").firstFrame], [65_543, 589_896]);
  receive("hello");
  assert.equal(receive("tile").sequence, 7);
});
