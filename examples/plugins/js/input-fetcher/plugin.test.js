import assert from "node:assert/strict";
import { test } from "node:test";
import { Host } from "./.kit/fake.js";
import { fetch } from "./plugin.js";

test("a colour is a picture of it", () => {
  const file = fetch("colour:fF8800", new Host());
  assert.deepEqual([file.length, file[0], file[1]], [54 + 64 * 64 * 3, 0x42, 0x4d]);
  // Blue comes first.
  for (let at = 54; at < file.length; at += 3) assert.deepEqual([...file.subarray(at, at + 3)], [0, 0x88, 0xff]);
});

test("what is no colour is refused in a sentence", () => {
  for (const reference of ["colour:", "colour:f80", "colour:+ff880", "colour:ff88zz"]) {
    assert.throws(() => fetch(reference, new Host()), { tag: "invalid-input", message: /names no colour/ });
  }
});
