import assert from "node:assert/strict";
import { test } from "node:test";
import { Picture } from "./.kit/fake.js";
import { annotate, levels } from "./plugin.js";

test("levels are the nearest of a few", () => {
  const picture = new Picture(2, 2, "gray8", [0, 100, 130, 255]);
  const made = annotate("posterize", picture, null, { threshold_a: 2 });
  assert.deepEqual([...made.readRows(0, 2)], [0, 0, 255, 255]);
  assert.equal(levels(4)[90], 85);
});
