// The rate that a page shows is that of the last five seconds.
import assert from "node:assert/strict";
import { test } from "node:test";
import { RateMeter } from "./built.js";

test("the rate is a mean over at least a second and at most five", () => {
  const rate = new RateMeter();
  assert.equal(rate.kbps(7), 0);
  rate.push(125, 10);
  assert.equal(rate.kbps(10.1), 1);
  for (let atS = 11; atS < 30; atS++) rate.push(125, atS);
  assert.equal(rate.kbps(29.5), (5 * 1) / 4.5);
  assert.equal(rate.kbps(60), 0);
});
