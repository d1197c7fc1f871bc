// What waits in the listening worker is bounded, and what does not fit is counted.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Inbox, TileQueue } from "./built.js";

const tile = (sequence) => ({ kind: "tile", sequence, firstFrame: 8 * sequence, frames: 8 });

/** The messages that are left, in order. */
function drain(inbox) {
  const taken = [];
  for (let next = inbox.take(); next; next = inbox.take()) taken.push(next.message);
  return taken;
}

test("messages come out as they went in, with the time of their arrival", () => {
  const inbox = new Inbox();
  inbox.put({ kind: "hello" }, 1.5);
  inbox.put(tile(0), 2.5);
  assert.deepEqual([inbox.take(), inbox.take(), inbox.take()], [
    { message: { kind: "hello" }, receivedS: 1.5 },
    { message: tile(0), receivedS: 2.5 },
    undefined,
  ]);
  assert.equal(inbox.leftOutTiles, 0);
});

test("a full inbox leaves out the oldest tiles and pauses, and every one of them is counted as lost", () => {
  const [inbox, queue] = [new Inbox(), new TileQueue()];
  queue.push(tile(0));
  queue.pop(); // the stream has begun
  for (let sequence = 1; sequence < 300; sequence++) inbox.put(tile(sequence), 0);
  const taken = drain(inbox);
  assert.equal(taken.length, 128);
  assert.equal(taken.at(-1).sequence, 299);
  for (const each of taken) queue.push(each);
  queue.giveUpMissing();
  while (queue.pop());
  queue.end(300);
  assert.equal(inbox.leftOutTiles, 299 - 128);
  assert.equal(queue.counts.lost, inbox.leftOutTiles);
  assert.equal(queue.counts.received + queue.counts.lost, 300);
});

test("what begins and ends a stream is kept while there is a packet or a ping to leave out", () => {
  const inbox = new Inbox(3);
  for (const kind of ["hello", "ping", "pause", "bundle", "bye"]) inbox.put({ kind }, 0);
  assert.deepEqual(drain(inbox).map(({ kind }) => kind), ["hello", "bundle", "bye"]);
  assert.equal(inbox.leftOutTiles, 1);
  for (let count = 0; count < 10; count++) inbox.put({ kind: "hello", count }, 0);
  assert.deepEqual(drain(inbox).map(({ count }) => count), [7, 8, 9]);
});
