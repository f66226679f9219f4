import assert from "node:assert/strict";
import { test } from "node:test";
import { line } from "./plugin.js";

test("a line says which checkpoint it is", () => {
  assert.equal(line({ name: "a", sha256: "0123456789abcd", kind: "editing" }), "loaded a [0123456789], for editing");
});
