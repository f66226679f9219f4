import assert from "node:assert/strict";
import { test } from "node:test";
import { line } from "./plugin.js";

test("a line says what was saved and where", () => {
  const grid = { path: "ann/txt2img-grids/1.png", format: "png", bytes: 7, infotext: "", isGrid: true };
  assert.equal(line(grid), "saved the grid ann/txt2img-grids/1.png, 7 bytes of png");
});
