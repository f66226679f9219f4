import assert from "node:assert/strict";
import { test } from "node:test";
import { Host } from "./.kit/fake.js";
import { before } from "./plugin.js";

test("a style ends the prompt", () => {
  const host = new Host({ settings: { style: "ink" } });
  assert.deepEqual(before({ prompt: "a boat" }, host), { prompt: "a boat, ink" });
  assert.deepEqual(before({}, host), { prompt: "ink" });
});
