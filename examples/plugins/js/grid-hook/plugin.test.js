import assert from "node:assert/strict";
import { test } from "node:test";
import { Host, Picture } from "./.kit/fake.js";
import { onGrid } from "./plugin.js";

test("three pictures stand in one row", () => {
  const pictures = [new Picture(1, 1), new Picture(1, 1), new Picture(1, 1)];
  const grid = onGrid({}, { pictures, columns: 2, rows: 2 }, new Host());
  assert.deepEqual([grid.columns, grid.rows], [3, 1]);
  assert.equal(grid.pictures[2], pictures[2]);
});
