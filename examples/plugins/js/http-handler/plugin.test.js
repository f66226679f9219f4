import assert from "node:assert/strict";
import { test } from "node:test";
import { handle } from "./plugin.js";
import { request } from "./.kit/fake.js";

test("words stand between spaces", () => {
  assert.deepEqual(handle(request("POST", "/", " two  words\n")).body, { words: 2 });
});

test("only posts of text are counted", () => {
  assert.equal(handle(request("GET", "/")).status, 405);
  assert.equal(handle(request("POST", "/", Uint8Array.of(0xff))).status, 400);
});
