import assert from "node:assert/strict";
import { test } from "node:test";
import { Host, StepTensor, moment } from "./.kit/fake.js";
import { onStep } from "./plugin.js";

function rescaled(share) {
  const [latent, positive, guided] = [[0, 0], [0, 2], [0, 8]].map((values) => new StepTensor([1, 1, 2], values));
  onStep([share], moment(), { latent, positive, guided }, new Host());
  return [...guided.read()];
}

test("contrast goes back by the share", () => {
  assert.deepEqual([0, "0.5", 1].map(rescaled), [[0, 8], [0, 5], [0, 2]]);
});

test("a share of more than all is the client's mistake", () => {
  for (const wrong of [2, "much", null]) assert.throws(() => rescaled(wrong), { tag: "invalid-input" });
});
