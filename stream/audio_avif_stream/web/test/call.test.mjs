// A call's rooms and who is there; the address of a page.
import assert from "node:assert/strict";
import { test } from "node:test";
import { BROWSER_PLAYOUT, CallState, callRooms, otherRoom, readAddress, writeAddress } from "./built.js";

test("each end of a call listens to the room in which the other publishes", () => {
  const [first, second] = callRooms("demo");
  assert.deepEqual([first, second], ["demo.1", "demo.2"]);
  assert.equal(otherRoom("demo", first), second);
  assert.equal(otherRoom("demo", second), first);
});

/** A call after these states, each of one direction. */
function after(...states) {
  const call = new CallState("demo");
  for (const [direction, state, detail = ""] of states) call[direction](state, detail);
  return call;
}

const ON_AIR = ["speak", "playing"];

test("a call tells who is there", () => {
  const connected = [ON_AIR, ["hear", "waiting"], ["hear", "playing"]];
  for (const [states, presence, isProblem, words] of [
    [[], "beginning", false, /ready/],
    [[["speak", "connecting"]], "beginning", false, /Connecting to demo/],
    [[ON_AIR], "beginning", false, /Connecting/],
    [[ON_AIR, ["hear", "connecting"]], "beginning", false, /Connecting/],
    [[ON_AIR, ["hear", "waiting"]], "waiting", false, /Waiting for the other end/],
    [connected, "connected", false, /^Connected/],
    [[...connected, ["hear", "ended"]], "hung up", false, /has hung up/],
    [[...connected, ["hear", "ended"], ["hear", "connecting"], ["hear", "waiting"]], "waiting", false, /Waiting for/],
    [[...connected, ["hear", "ended"], ["hear", "playing"]], "connected", false, /^Connected/],
    [[...connected, ["hear", "waiting"]], "gone", true, /lost its connection/],
    [[...connected, ["hear", "lost", "Connection lost."]], "reconnecting", true, /^Connection lost.$/],
    [[...connected, ["speak", "lost", "Connection lost."]], "reconnecting", true, /^Connection lost.$/],
    [[...connected, ["speak", "lost", "Connection lost."], ["speak", "connecting"]], "reconnecting", true, /again/],
    [[["speak", "taken", "busy"]], "over", true, /demo is full/],
    [[["speak", "failed", "The token is wrong."]], "over", true, /^The token is wrong.$/],
    [[...connected, ["hear", "failed", "Garbage."]], "over", true, /^Garbage.$/],
  ]) {
    const call = after(...states);
    assert.deepEqual([call.presence, call.isProblem], [presence, isProblem], JSON.stringify(states));
    assert.match(call.sentence, words);
  }
});

test("an end listens once it publishes, and only once", () => {
  assert.ok(!after(["speak", "connecting"]).mayListen);
  assert.ok(after(ON_AIR).mayListen);
  assert.ok(!after(ON_AIR, ["hear", "trying"], ["speak", "lost"], ON_AIR).mayListen);
});

test("an address is read as it was written, and an unusable buffer is left out", () => {
  for (const address of [
    { room: "demo", token: "", minBufferS: BROWSER_PLAYOUT.minS },
    { room: "a.b-c_1", token: "sésame & co", minBufferS: 0.7 },
  ]) {
    assert.deepEqual(readAddress(writeAddress(address)), address);
  }
  assert.equal(writeAddress(readAddress("#room=demo")), "#room=demo");
  for (const given of ["", "#buffer=", "#buffer=-1", "#buffer=2001", "#buffer=x"]) {
    assert.deepEqual(readAddress(given), { room: "", token: "", minBufferS: BROWSER_PLAYOUT.minS });
  }
});
