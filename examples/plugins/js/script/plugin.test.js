import assert from "node:assert/strict";
import { test } from "node:test";
import { Host } from "./.kit/fake.js";
import { run } from "./plugin.js";

test("seeds count up from the request's", () => {
  const host = new Host();
  const made = run("Several seeds", { seed: 7, width: 8, height: 8 }, [3], [], null, host);
  assert.deepEqual(host.drawings.map(({ seed }) => seed), [7, 8, 9]);
  assert.equal(made.length, 3);
});

test("a number may be text, and one out of range draws nothing", () => {
  const host = new Host();
  assert.equal(run("Several seeds", { width: 8, height: 8 }, ["2"], [], null, host).length, 2);
  const message = '"Seeds" is 17; it must be a number between 1 and 16.';
  assert.throws(() => run("Several seeds", {}, [17], [], null, host), { tag: "invalid-input", message });
  assert.equal(host.drawings.length, 2);
});
