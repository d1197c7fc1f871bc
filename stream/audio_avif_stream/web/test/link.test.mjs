// Connections that die without a word, by a clock that the test moves.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";
import { AwakeClock, Connection, Counters, Publisher, parse } from "./built.js";

const bytes = (name) => new Uint8Array(readFileSync(new URL(`../../../../tests/data/wire/good/${name}.bin`, import.meta.url)));
const PONG = Uint8Array.from([0x45, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);

let nowS, timers, sockets, states;
const clockS = () => nowS;

class FakeSocket {
  static OPEN = 1;
  readyState = 0;
  bufferedAmount = 0;
  sent = [];

  constructor(url) {
    this.url = url;
    sockets.push(this);
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  send(data) {
    this.sent.push(data[0]);
  }

  tell(data) {
    this.onmessage?.({ data: data.slice().buffer });
  }

  close() {
    this.readyState = 2; // a peer that is gone answers no close
  }

  end(code, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

/** Let time pass as an event loop does, or stand still and then call what is due once. */
function pass(seconds, stepS = 0.05) {
  for (const untilS = nowS + seconds; nowS < untilS - 1e-9; ) {
    nowS += Math.min(stepS, untilS - nowS);
    for (const timer of [...timers]) {
      if (!timers.has(timer) || timer.dueS > nowS) continue;
      if (timer.everyS) timer.dueS = nowS + timer.everyS;
      else timers.delete(timer);
      timer.callback();
    }
  }
}

beforeEach(() => {
  [nowS, timers, sockets, states] = [100, new Set(), [], []];
  const start = (callback, ms, isRepeated) => {
    const timer = { callback, dueS: nowS + ms / 1000, everyS: isRepeated ? ms / 1000 : 0 };
    timers.add(timer);
    return timer;
  };
  globalThis.self = {
    setTimeout: (callback, ms) => start(callback, ms, false),
    setInterval: (callback, ms) => start(callback, ms, true),
    clearTimeout: (timer) => timers.delete(timer),
    location: { origin: "http://here" },
  };
  globalThis.WebSocket = FakeSocket;
  globalThis.fetch = () => Promise.reject(new Error("nobody is there"));
});

const onState = (state, detail) => states.push([state, detail]);
const latest = () => states.at(-1)[0];

function listener() {
  const heard = [];
  new Connection("ws://here/listen/demo", "", { onState, onMessage: ({ kind }) => heard.push(kind) }, clockS);
  return heard;
}

const publisher = () => new Publisher("ws://here/publish/demo", "", parse(bytes("hello"), null, new Counters()), onState, clockS);

/** A server that is there: it answers each ping. */
function answer(seconds, socket = sockets.at(-1)) {
  for (const untilS = nowS + seconds; nowS < untilS - 1e-9; ) {
    pass(Math.min(0.25, untilS - nowS));
    if (socket.sent.includes(0x05)) socket.tell(PONG);
    socket.sent = [];
  }
}

test("a clock that is read late counts a second of it", () => {
  const awake = new AwakeClock(clockS);
  nowS += 0.5;
  assert.equal(awake.nowS(), 0.5);
  nowS += 60;
  assert.equal(awake.nowS(), 1.5);
});

test("a listener is told at the first pong that nobody publishes", () => {
  listener();
  sockets[0].open();
  assert.equal(latest(), "connecting");
  sockets[0].tell(PONG);
  assert.equal(latest(), "waiting");
});

test("a listener that comes back names the stream whose end it has yet to hear", () => {
  listener();
  sockets[0].open();
  sockets[0].tell(bytes("hello"));
  sockets[0].end(1006);
  pass(1);
  assert.equal(sockets[1].url, "ws://here/listen/demo?unfinished=0123456789abcdef");
  sockets[1].open();
  sockets[1].tell(bytes("hello"));
  sockets[1].tell(bytes("bye"));
  sockets[1].end(1006);
  pass(2);
  assert.equal(sockets[2].url, "ws://here/listen/demo");
});

test("a listener of a stream is not told that nobody publishes, until nothing comes", () => {
  const heard = listener();
  sockets[0].open();
  sockets[0].tell(bytes("hello"));
  sockets[0].tell(PONG);
  assert.deepEqual(heard, ["hello"]);
  assert.equal(latest(), "connecting"); // what the hello means is not this module's to say
  answer(2.5);
  assert.equal(latest(), "waiting");
});

test("a listener leaves a path on which no pong comes, and says so", () => {
  listener();
  sockets[0].open();
  sockets[0].tell(bytes("hello"));
  answer(1.5);
  sockets[0].tell(bytes("noise"));
  const before = states.length;
  pass(4.5);
  assert.equal(latest(), "lost");
  assert.match(states.at(-1)[1], /does not answer/);
  assert.ok(!states.slice(before).some(([state]) => state === "waiting"));
  assert.equal(sockets[0].readyState, 2);
  assert.ok(sockets.length > 1);
});

test("what a connection says that was left is not heard", () => {
  const heard = listener();
  sockets[0].open();
  pass(4);
  sockets[0].tell(bytes("hello"));
  assert.deepEqual(heard, []);
});

test("attempts that hang are given up, and the path is tried within 8 s of its return", () => {
  listener();
  sockets[0].open();
  sockets[0].tell(PONG);
  pass(120);
  const attempts = sockets.length;
  pass(8);
  assert.ok(sockets.length > attempts);
  assert.ok(attempts < 40);
});

test("the first attempt may take longer than those after a connection that was quick", () => {
  listener();
  pass(9);
  assert.equal(sockets.length, 1);
  pass(3);
  assert.equal(sockets.length, 2);
  assert.equal(latest(), "lost");
});

test("a page that stood still itself does not take the server for dead", () => {
  listener();
  sockets[0].open();
  sockets[0].tell(PONG);
  answer(5);
  pass(60, 60); // suspended
  answer(2);
  assert.equal(sockets.length, 1);
  assert.equal(latest(), "waiting");
});

test("a publisher leaves a path on which nothing comes, and comes back to the same stream", () => {
  const speaker = publisher();
  sockets[0].open();
  sockets[0].tell(bytes("welcome"));
  assert.deepEqual(sockets[0].sent, [0x01]);
  assert.ok(speaker.isReady);
  answer(10); // pings are sent before there is a first sample
  assert.equal(latest(), "playing");
  pass(5.5);
  assert.equal(latest(), "lost");
  assert.ok(!speaker.isReady);
  pass(1);
  sockets.at(-1).open();
  assert.ok(!speaker.isReady);
  sockets.at(-1).tell(bytes("welcome"));
  assert.ok(speaker.isReady);
  assert.equal(latest(), "playing");
});

test("a publisher that comes back late in a stream tells where it is, and in between it does not", () => {
  const speaker = publisher();
  const sent = () => sockets.at(-1).sent.filter((kind) => kind !== 0x05);
  const say = (firstFrame) =>
    speaker.send({ firstFrame, frames: 8, payload: Uint8Array.of(1), isWholeStill: false, header: 0 });
  const begin = () => {
    sockets.at(-1).open();
    sockets.at(-1).tell(bytes("welcome"));
  };
  begin();
  for (let frame = 0; frame < 80_000; frame += 8) say(frame);
  assert.ok(!sent().includes(0x09));
  pass(7);
  begin();
  for (const frame of [80_000, 80_008]) say(frame);
  assert.deepEqual(sent(), [0x01, 0x09, 0x80, 0x80]);
});

test("a publisher leaves a server that does not answer its hello", () => {
  publisher();
  sockets[0].open();
  pass(7);
  assert.equal(latest(), "lost");
  assert.ok(sockets.length > 1);
});

test("a room that is taken ends it, unless it was taken while the path was dead", async () => {
  const busy = [4002, "room demo has another publisher; try again later"];
  publisher();
  sockets[0].open();
  sockets[0].end(...busy);
  await null;
  assert.equal(latest(), "taken");

  publisher();
  sockets[1].open();
  sockets[1].tell(bytes("welcome"));
  sockets[1].end(4002, "another stream has started here");
  await null;
  assert.equal(latest(), "lost");
  pass(1);
  sockets[2].open();
  sockets[2].end(...busy);
  await null;
  assert.equal(latest(), "lost");
  pass(2);
  assert.equal(sockets.length, 4);
});

test("a server that lets the page not in is told apart from one that is not there", async () => {
  const later = () => new Promise((resolve) => setImmediate(resolve));
  listener();
  sockets[0].end(1006);
  await later();
  assert.equal(latest(), "lost");
  pass(1);
  globalThis.fetch = () => Promise.resolve({});
  sockets[1].end(1006);
  await later();
  assert.equal(latest(), "refused");
});
