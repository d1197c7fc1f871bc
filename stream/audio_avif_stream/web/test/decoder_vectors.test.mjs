// The decoder decides as the vectors say that it shares with Python's; tests/support/decoder_vectors.py makes them.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Decoder, USUAL_MEL, fromPixel, noiseEnvelope } from "./built.js";

const FOLDER = new URL("../../../../tests/data/decoder/", import.meta.url);
const BANDS = USUAL_MEL.n_mels;
const HOP = USUAL_MEL.hop_samples;

/** A vocoder that counts: as many samples as frames ask for, `latencySamples` late. */
class Counter {
  held = 0;

  constructor(latencySamples) {
    this.latencySamples = latencySamples;
  }

  async push(logMel) {
    this.held += logMel.length * HOP;
    const ready = Math.max(0, this.held - this.latencySamples);
    this.held -= ready;
    return new Float32Array(ready);
  }

  async flush() {
    return new Float32Array(this.held);
  }
}

const steadyNoise = { frames: (envelope, count) => Array(count).fill(envelope) };

function openDecoder(vector) {
  const { min_s, max_s, conceal_at_s, max_conceal_s, fade_s } = vector.playout;
  const playout = { minS: min_s, maxS: max_s, concealAtS: conceal_at_s, maxConcealS: max_conceal_s, fadeS: fade_s };
  const tile = { frames: vector.tile_frames, log10_min: -5.5, log10_max: 1 };
  const decoder = new Decoder(USUAL_MEL, tile, new Counter(vector.latency_samples), playout);
  decoder.pacer.processingS = vector.processing_s;
  decoder.pacer.unsteady = { aloneS: vector.unsteady_s, beyondLatestS: vector.unsteady_s };
  decoder.background.noise = steadyNoise;
  return { decoder, tile };
}

function packetOf({ sequence, first_frame: firstFrame, frames, pixels, levels }, tile) {
  const place = { sequence, firstFrame, frames };
  if (levels) return { kind: "pause", ...place, envelope: noiseEnvelope(Uint8Array.from(levels), BANDS, tile) };
  const logMel = pixels?.map((pixel) => new Float32Array(BANDS).fill(fromPixel(pixel, tile))) ?? null;
  return { kind: "tile", ...place, logMel, receivedS: 0 };
}

function push(decoder, tile, { push: packet, now_s: nowS }) {
  const copies = packet.copies ?? [];
  const needed = copies.filter((copy) => decoder.needs(copy.sequence));
  decoder.push(packetOf(packet, tile), needed.map((copy) => packetOf(copy, tile)), copies.length, nowS);
}

async function ask(decoder, { buffered_s: bufferedS, now_s: nowS }) {
  const speech = decoder.nextFrames(bufferedS, nowS);
  const answer = { urgent_s: decoder.urgentS, is_waiting: decoder.isWaiting };
  if (!speech) return { ...answer, levels: null };
  const chunk = await decoder.speak(speech);
  return {
    ...answer,
    tile: speech.tile?.sequence ?? null,
    silence_s: speech.silenceS,
    first_sample: chunk.firstSample,
    samples: chunk.samples.length,
    levels: speech.logMel.map((frame) => frame.reduce((sum, x) => sum + x, 0) / BANDS),
  };
}

function assertAgrees(answer, expected, where) {
  const told = `${where}: ${JSON.stringify(answer)}, not ${JSON.stringify(expected)}`;
  assert.deepEqual(Object.keys(answer).sort(), Object.keys(expected).sort(), told);
  for (const [key, value] of Object.entries(expected)) {
    if (Array.isArray(value)) {
      assert.equal(answer[key]?.length, value.length, told);
      value.forEach((level, i) => assert.ok(Math.abs(answer[key][i] - level) < 2e-3, told));
    } else if (typeof value === "number") assert.ok(Math.abs(answer[key] - value) < 2e-6, told);
    else assert.equal(answer[key], value, told);
  }
}

function totalsOf({ counts, background, pacer }) {
  return {
    ...counts,
    concealed_frames: background.concealedFrames,
    noise_frames: background.noiseFrames,
    shortened_samples: Math.round(pacer.shortenedS * 16000),
    lengthened_samples: Math.round(pacer.lengthenedS * 16000),
  };
}

for (const file of readdirSync(FOLDER).sort()) {
  const vector = JSON.parse(readFileSync(new URL(file, FOLDER), "utf-8"));
  test(`as Python: ${vector.about}`, async () => {
    const { decoder, tile } = openDecoder(vector);
    for (const [number, call] of vector.calls.entries()) {
      if ("push" in call) push(decoder, tile, call);
      else if ("ask" in call) assertAgrees(await ask(decoder, call.ask), call.answer, `${file}, call ${number}`);
      else if ("end" in call) decoder.end(call.end);
      else {
        const { firstSample, samples } = await decoder.flush();
        assert.deepEqual({ first_sample: firstSample, samples: samples.length }, call.flush);
      }
    }
    assert.deepEqual(totalsOf(decoder), vector.totals);
  });
}
