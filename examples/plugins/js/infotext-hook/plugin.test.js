import assert from "node:assert/strict";
import { test } from "node:test";
import { onInfotext } from "./plugin.js";

test("a template takes the place of what was made of it", () => {
  const text = { prompt: "a cat", negativePrompt: "", fields: { Seed: "1" } };
  assert.deepEqual(onInfotext("", text), text);
  const made = { ...text, fields: { Template: "a {cat|dog}", Seed: "1" } };
  assert.deepEqual(onInfotext("", made), { ...text, prompt: "a {cat|dog}" });
});
