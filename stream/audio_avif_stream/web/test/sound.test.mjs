// The way of the samples to the device.
import assert from "node:assert/strict";
import { test } from "node:test";
import { HISTORY_FRAMES, History, Kind, Player, Resampler, Ring, Sink, TargetWatch, openOutlet } from "./built.js";

test("a ring gives back what was put in, and fades where it runs dry", () => {
  const ring = new Ring();
  ring.write(Float32Array.from([0.1, 0.2, 0.5]));
  const out = Array.from({ length: 5 }, ring.next);
  assert.deepEqual(out.slice(0, 3).map((x) => x.toFixed(1)), ["0.1", "0.2", "0.5"]);
  assert.ok(out[3] < 0.5 && out[4] < out[3] && out[4] > 0);
  assert.deepEqual([ring.taken, ring.underruns], [3, 1]);
});

test("silence that is meant is no underrun", () => {
  const ring = new Ring();
  ring.next();
  ring.write(new Float32Array(1));
  ring.next();
  ring.rest();
  ring.next();
  assert.equal(ring.underruns, 0);
});

test("a ring that overflows keeps the newest", () => {
  const ring = new Ring();
  ring.write(new Float32Array(8 * 16_000));
  ring.write(Float32Array.from([1]));
  assert.equal(ring.taken, 1);
  let last = 0;
  for (let i = 0; i < 8 * 16_000; i++) last = ring.next();
  assert.equal(last, 1);
});

for (const rateHz of [44_100, 48_000]) {
  test(`16 kHz becomes ${rateHz} Hz`, () => {
    const hz = 3000;
    let read = 0;
    const resampler = new Resampler(16_000 / rateHz);
    const out = new Float32Array(rateHz / 4);
    for (let at = 0; at < out.length; at += 128) {
      resampler.fill(out.subarray(at, at + 128), () => Math.sin((2 * Math.PI * hz * read++) / 16_000));
    }
    assert.ok(Math.abs(read - 4000) < 40);
    // What is left when the best sine of this frequency is taken out.
    const part = out.slice(1000, 1000 + Math.round(rateHz / 100) * 10);
    let [sine, cosine] = [0, 0];
    part.forEach((x, i) => {
      sine += (2 / part.length) * x * Math.sin((2 * Math.PI * hz * i) / rateHz);
      cosine += (2 / part.length) * x * Math.cos((2 * Math.PI * hz * i) / rateHz);
    });
    const noise = part.reduce((sum, x, i) => {
      const t = (2 * Math.PI * hz * i) / rateHz;
      return sum + (x - sine * Math.sin(t) - cosine * Math.cos(t)) ** 2;
    }, 0);
    const snrDb = 10 * Math.log10(part.length / 2 / noise);
    assert.ok(Math.abs(Math.hypot(sine, cosine) - 1) < 0.01 && snrDb > 60, `${Math.hypot(sine, cosine)} ${snrDb} dB`);
  });
}

test("the sink knows what is buffered and what is heard", () => {
  const sent = [];
  const port = { postMessage: (message) => sent.push(message), onmessage: null };
  let nowS = 10;
  const sink = new Sink(port, () => nowS, () => {});
  sink.silence(0.1);
  sink.write({ samples: new Float32Array(3200), firstSample: 5000 });
  assert.equal(sent.length, 2);
  port.onmessage({ data: { taken: 0, underruns: 0, playedS: 5 } });
  assert.equal(sink.bufferedS.toFixed(3), "0.300");
  assert.equal(sink.heardSample, null);
  nowS += 0.23; // this report is read 30 ms late
  port.onmessage({ data: { taken: 3200, underruns: 0, playedS: 5.2 } });
  assert.equal(sink.bufferedS.toFixed(3), "0.070");
  assert.equal(Math.round(sink.heardSample), 5000 + 1600 + 480);
});

test("the player fills blocks of any size, tells how much it took, and starts anew with another worker", () => {
  const ports = [0, 1].map(() => ({ reports: [], postMessage(report) { this.reports.push(report); } }));
  const player = new Player(16_000);
  player.follow(ports[0]);
  ports[0].onmessage({ data: Float32Array.from({ length: 1024 }, (_, i) => i) });
  const out = new Float32Array(512);
  for (const [start, end] of [[0, 128], [128, 256], [256, 512]]) player.fill(out.subarray(start, end));
  assert.deepEqual(out, Float32Array.from({ length: 512 }, (_, i) => i));
  assert.deepEqual(ports[0].reports.map(({ taken }) => taken), [256, 512]);
  player.follow(ports[1]);
  ports[1].onmessage({ data: Float32Array.from([7]) });
  player.fill(out);
  assert.equal(out[0], 7);
  assert.deepEqual(ports[1].reports, [{ taken: 1, underruns: 1, playedS: 0.064 }]);
});

for (const [rateHz, block] of [[16_000, 512], [44_100, 2048], [48_000, 2048]]) {
  test(`without an AudioWorklet the page plays, ${block} samples of ${rateHz} Hz at once`, async () => {
    const node = {};
    const context = { sampleRate: rateHz, createScriptProcessor: (size) => Object.assign(node, { size }) };
    const outlet = await openOutlet(context);
    assert.equal(outlet.node, node);
    assert.equal(node.size, block);
    assert.equal(outlet.blockS, block / rateHz);
    const port = { reports: [], postMessage(report) { this.reports.push(report); } };
    outlet.follow(port);
    port.onmessage({ data: new Float32Array(16_000).fill(0.5) });
    const out = new Float32Array(block);
    for (let i = 0; i < 3; i++) node.onaudioprocess({ outputBuffer: { getChannelData: () => out } });
    assert.ok(out.every((sample) => Math.abs(sample - 0.5) < 0.01));
    assert.equal(port.reports.length, 3);
    assert.ok(Math.abs(port.reports[2].taken - (3 * block * 16_000) / rateHz) < 40);
  });
}

test("the history keeps tiles, shows what is lost and goes on with a pause", () => {
  const history = new History(2);
  const kinds = (from, until) => Array.from({ length: until - from }, (_, i) => history.kinds[(from + i) % HISTORY_FRAMES]);
  history.putTile(100, 2, 2, Uint8Array.from([1, 2, 3, 4]));
  assert.deepEqual([...history.values.slice(200, 204)], [1, 3, 2, 4]);
  history.putTile(104, 2, 2, new Uint8Array(4));
  assert.deepEqual(kinds(100, 106), [Kind.tile, Kind.tile, Kind.lost, Kind.lost, Kind.tile, Kind.tile]);
  history.putPause(106, Uint8Array.from([7, 8]));
  history.fillPause(110);
  assert.deepEqual(kinds(106, 110), Array(4).fill(Kind.pause));
  assert.deepEqual([...history.values.slice(212, 214)], [8, 7]);
  history.putTile(108, 2, 2, new Uint8Array(4));
  assert.deepEqual(kinds(107, 110), [Kind.pause, Kind.tile, Kind.tile]);
  history.putTile(1_000_000, 2, 2, new Uint8Array(4));
  assert.equal(kinds(1_000_000 - HISTORY_FRAMES + 2, 1_000_000).every((kind) => kind === Kind.nothing), true);
  assert.equal(history.end, 1_000_002);
});

test("what raised the target of the buffer last is told", () => {
  const watch = new TargetWatch();
  assert.equal(watch.raisedBy(0.06, 0), "");
  assert.equal(watch.raisedBy(0.05, 0), "");
  assert.equal(watch.raisedBy(0.09, 0), "jitter");
  assert.equal(watch.raisedBy(0.22, 1), "copies");
  assert.equal(watch.raisedBy(0.1, 1), "copies");
  assert.equal(watch.raisedBy(0.3, 1), "jitter");
});
