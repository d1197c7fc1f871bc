// Opened tiles to samples, against a clock that is passed in.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ArrivalWatch,
  Decoder,
  DepthWatch,
  FloorTracker,
  TileQueue,
  USUAL_MEL,
  bandAt,
  decay,
  fadeIn,
  interpolate,
  naturalFluctuation,
  noiseEnvelope,
} from "./built.js";

const TILE = { frames: 8, log10_min: -5.5, log10_max: 1 };
const TILE_S = 0.128;
const LATENCY = 768;

/** A vocoder that says each frame's first band 256 times. */
class Echo {
  latencySamples = LATENCY;
  said = [];
  #unborn = LATENCY;

  async push(logMel) {
    this.said.push(...logMel.map((frame) => frame[0]));
    const samples = Float32Array.from(logMel.flatMap((frame) => Array(256).fill(frame[0])));
    const skipped = Math.min(this.#unborn, samples.length);
    this.#unborn -= skipped;
    return samples.slice(skipped);
  }

  async flush() {
    return new Float32Array(LATENCY).fill(-9);
  }
}

const frame = (level) => new Float32Array(80).fill(level);
const tile = (sequence, level = -1, firstFrame = 8 * sequence) => ({
  kind: "tile",
  sequence,
  firstFrame,
  frames: 8,
  logMel: level === null ? null : Array.from({ length: 8 }, () => frame(level)),
});

/** A decoder and the sound device that empties its buffer as time goes on. */
class Listener {
  vocoder = new Echo();
  decoder = new Decoder(USUAL_MEL, TILE, this.vocoder);
  chunks = [];
  bufferedS = 0;
  nowS = 100;

  async advance(seconds) {
    for (let passed = 0; passed < seconds - 1e-9; passed += 0.004) {
      this.nowS += 0.004;
      this.bufferedS = Math.max(0, this.bufferedS - 0.004);
      await this.speak();
    }
  }

  async speak() {
    for (let speech; (speech = this.decoder.nextFrames(this.bufferedS, this.nowS)); ) {
      const chunk = await this.decoder.speak(speech);
      this.chunks.push(chunk);
      this.bufferedS += speech.silenceS + chunk.samples.length / 16_000;
    }
  }

  async hear(packet) {
    this.decoder.push(packet, [], 0, this.nowS);
    await this.speak();
  }

  get samples() {
    return this.chunks.reduce((sum, chunk) => sum + chunk.samples.length, 0);
  }
}

test("a steady stream is spoken whole, in order and where it belongs", async () => {
  const listener = new Listener();
  for (let i = 0; i < 40; i++) {
    await listener.hear(tile(i, -1 - i / 100));
    await listener.advance(TILE_S);
  }
  assert.equal(listener.decoder.counts.received, 40);
  assert.equal(listener.decoder.background.concealedFrames, 0);
  assert.equal(listener.vocoder.said.length, 320);
  let at = 0;
  for (const { samples, firstSample } of listener.chunks) {
    assert.ok(Math.abs(firstSample - at) <= 160, `${firstSample} after ${at}`); // of which 10 ms may be spliced
    at = firstSample + samples.length;
  }
  assert.ok(listener.bufferedS > 0.03 && listener.bufferedS < 0.25, `${listener.bufferedS}`);
});

test("a lost tile is led over, and told", async () => {
  const listener = new Listener();
  for (let i = 0; i < 20; i++) {
    if (i !== 10) await listener.hear(tile(i, i < 10 ? -1 : -2));
    await listener.advance(TILE_S);
  }
  assert.equal(listener.decoder.counts.lost, 1);
  assert.ok(listener.decoder.background.concealedFrames >= 4 && listener.decoder.background.concealedFrames <= 12);
  assert.ok(listener.vocoder.said.every((level) => level <= -1 && level > -5.6));
});

test("a damaged tile is concealed like a lost one", async () => {
  const listener = new Listener();
  for (let i = 0; i < 20; i++) {
    await listener.hear(tile(i, i === 10 ? null : -1));
    await listener.advance(TILE_S);
  }
  assert.equal(listener.decoder.counts.damaged, 1);
  assert.ok(listener.decoder.background.concealedFrames > 0);
});

test("a copy stands in for a tile that never came", async () => {
  const listener = new Listener();
  for (let i = 0; i < 20; i++) {
    const copies = i === 11 ? [tile(10)] : [];
    if (i === 11) assert.ok(listener.decoder.needs(10));
    listener.decoder.push(tile(i === 10 ? 9 : i), copies, 1, listener.nowS);
    await listener.speak();
    await listener.advance(TILE_S);
  }
  const { recovered, lost, repeated, late } = listener.decoder.counts;
  assert.deepEqual([recovered, lost, repeated + late], [1, 0, 1]);
  assert.ok(listener.vocoder.said.filter((level) => level === -1).length >= 160);
});

test("the last second at once is not played late", async () => {
  const listener = new Listener();
  for (let i = 0; i < 8; i++) listener.decoder.push(tile(i), [], 0, listener.nowS);
  await listener.speak();
  assert.ok(listener.bufferedS < 0.7, `${listener.bufferedS}`);
  assert.ok(listener.decoder.counts.skipped >= 2);
  for (let i = 8; i < 60; i++) {
    await listener.advance(TILE_S);
    await listener.hear(tile(i));
  }
  assert.ok(listener.bufferedS < 0.3, `${listener.bufferedS}`);
});

test("a backlog after a stall is skipped", async () => {
  const listener = new Listener();
  for (let i = 0; i < 10; i++) {
    await listener.hear(tile(i));
    await listener.advance(TILE_S);
  }
  await listener.advance(3);
  for (let i = 10; i < 33; i++) listener.decoder.push(tile(i), [], 0, listener.nowS);
  await listener.speak();
  assert.ok(listener.decoder.counts.skipped > 10);
  assert.ok(listener.bufferedS < 1, `${listener.bufferedS}`);
});

test("a pause goes on as noise until the next tile, and no longer than it is told of", async () => {
  const listener = new Listener();
  for (let i = 0; i < 10; i++) {
    await listener.hear(tile(i));
    await listener.advance(TILE_S);
  }
  for (let i = 0; i < 3; i++) {
    await listener.hear({ kind: "pause", sequence: 10 + i, firstFrame: 80 + 24 * i, frames: 8, envelope: frame(-4) });
    await listener.advance(3 * TILE_S);
  }
  assert.equal(listener.decoder.background.concealedFrames, 0);
  const noise = listener.vocoder.said.slice(110);
  const mean = noise.reduce((sum, x) => sum + x, 0) / noise.length;
  assert.ok(Math.abs(mean + 4) < 0.1, `${mean}`);
  await listener.advance(3);
  assert.ok(listener.decoder.isWaiting);
  assert.equal(listener.bufferedS, 0);
});

test("the stream ends at its last sample", async () => {
  const listener = new Listener();
  for (let i = 0; i < 10; i++) {
    await listener.hear(tile(i));
    await listener.advance(TILE_S);
  }
  listener.decoder.end({ tiles: 10, samples: 20_000 });
  await listener.speak();
  listener.chunks.push(await listener.decoder.flush());
  const last = listener.chunks.at(-1);
  assert.equal(last.firstSample + last.samples.length, 20_000);
});

test("a queue sorts, drops what is late, and counts what is lost", () => {
  const queue = new TileQueue();
  for (const number of [3, 5, 4, 4, 2, 8]) queue.push(tile(number));
  const order = [];
  for (let packet; (packet = queue.pop() ?? (queue.giveUpMissing() ? queue.pop() : null)); ) order.push(packet.sequence);
  assert.deepEqual(order, [3, 4, 5, 8]);
  assert.deepEqual([queue.counts.late, queue.counts.repeated, queue.counts.lost], [1, 1, 2]);
  queue.end(12);
  assert.equal(queue.counts.lost, 5);
});

test("lateness is that of the later arrivals, and a burst after a stall counts once", () => {
  const watch = new ArrivalWatch(0.016);
  let nowS = 5;
  for (let i = 0; i < 100; i++) {
    watch.push(8 * i, nowS + (i % 10 === 0 ? 0.05 : 0));
    nowS += TILE_S;
  }
  assert.ok(Math.abs(watch.latenessS - 0.05) < 1e-6, `${watch.latenessS}`);
  for (let i = 100; i < 115; i++) watch.push(8 * i, nowS + 15 * TILE_S);
  assert.ok(watch.latenessS < 0.1, `${watch.latenessS}`);
});

test("the usual depth is that of the last second, whose halves are rounded as Python rounds them", () => {
  const watch = new DepthWatch(0.08); // 12.5 tiles a second: 12 depths
  const depths = [1, ...Array(6).fill(0), ...Array(6).fill(1)].map((depth) => watch.push(depth));
  assert.equal(depths.at(-1), 0.5);
});

test("gaps are led over, ends decay to the background, starts rise", () => {
  assert.deepEqual(interpolate(frame(0), frame(4), 3).map((each) => each[0]), [1, 2, 3]);
  const fall = decay(frame(0), frame(-0.25), 3, 0.016).map((each) => each[5]);
  assert.ok(Math.abs(fall[0] + 0.16) < 1e-6 && fall[1] === -0.25 && fall[2] === -0.25);
  assert.deepEqual(decay(frame(-3), frame(-1), 1, 0.016)[0][0], -3);
  assert.equal(fadeIn(Array(10).fill(frame(0)), 0.016)[0][0], -1);
});

test("the floor is that of the background", () => {
  const floor = new FloorTracker(USUAL_MEL);
  for (let i = 0; i < 400; i++) floor.push([frame(i % 50 < 25 ? -0.5 : -4)]);
  assert.ok(Math.abs(floor.floor[40] + 4) < 0.1, `${floor.floor[40]}`);
});

test("noise and bands are as Python has them", () => {
  const levels = Uint8Array.from([10, 200, 30, 40, 0, 255, 70, 80]);
  const envelope = noiseEnvelope(levels, 80, TILE);
  // audio_avif.codec.noise.noise_envelope of the same levels, every eighth band
  const python = [-5.5, -3.5139, 0.3743, -5.5, -4.3136, -5.5, -3.5425, 1.0, -4.5583, -3.6772];
  python.forEach((level, i) => assert.ok(Math.abs(envelope[8 * i] - level) < 1e-3, `${i}: ${envelope[8 * i]}`));
  const noise = naturalFluctuation(USUAL_MEL, 512);
  const spread = (band) => Math.sqrt(noise.reduce((sum, each) => sum + each[band] ** 2, 0) / noise.length);
  // the standard deviation of audio_avif.codec.noise's own
  for (const [band, python] of [[0, 0.16], [20, 0.171], [40, 0.116], [60, 0.092], [79, 0.065]]) {
    assert.ok(Math.abs(spread(band) / python - 1) < 0.25, `${band}: ${spread(band)}`);
  }
  assert.ok(Math.abs(bandAt(1000, USUAL_MEL) - 24.81) < 0.02, `${bandAt(1000, USUAL_MEL)}`);
});
