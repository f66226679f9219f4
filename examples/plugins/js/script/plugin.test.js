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

test("too many seeds are the client's mistake", () => {
  assert.throws(() => run("Several seeds", {}, [17], [], null, new Host()), { tag: "invalid-input" });
});
