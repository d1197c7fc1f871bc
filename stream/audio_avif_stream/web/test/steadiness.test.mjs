// How unpunctual a machine is, by the vectors that the Python decoder follows too.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Steadiness } from "./built.js";

const TILE_S = 0.032;
const CASES = JSON.parse(readFileSync(new URL("../../../../tests/data/steadiness.json", import.meta.url)));

/**
 * What 100 tiles need, given what differs from the usual ones by number: sooner dry, longer made, later, each in ms. The
 * output may play all later from a tile on.
 */
function judged(tilesMs, laterMs = { from_tile: 0, by: 0 }) {
  const watch = new Steadiness();
  for (let number = 0; number < 100; number++) {
    const [soonerS, extraS, latenessS] = (tilesMs[number] ?? [0, 0, 0]).map((ms) => ms / 1e3);
    const nowS = number * TILE_S;
    const laterS = number >= laterMs.from_tile ? laterMs.by / 1e3 : 0;
    watch.push(nowS, nowS, 0.05 - soonerS + laterS, 0.004 + extraS, latenessS);
  }
  return watch.unsteady;
}

const usual = judged({});

for (const { about, tiles_ms: tilesMs, later_ms: laterMs, alone_ms: aloneMs, beyond_latest_ms: beyondLatestMs } of CASES)
  test(`only what comes together is added to the lateness of the latest tile: ${about}`, () => {
    const unsteady = judged(tilesMs, laterMs);
    assert.ok(Math.abs(unsteady.aloneS - usual.aloneS - aloneMs / 1e3) < 1e-9);
    assert.ok(Math.abs(unsteady.beyondLatestS - usual.beyondLatestS - beyondLatestMs / 1e3) < 1e-9);
  });
