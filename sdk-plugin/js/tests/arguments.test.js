// Arguments are read as in every kit: the cases are those of `sdk-plugin/tests`, which `tests/plugins/kits.rs` lays beside.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Arguments, argumentsOf } from "./.kit/arguments.js";
import { Host } from "./.kit/fake.js";
import * as lax from "./.kit/lax.js";

const CASES = JSON.parse(readFileSync(new URL("arguments.json", import.meta.url), "utf8"));
const HOST = new Host();
const TABLE = {
  name: lax.text(""),
  steps: lax.whole(0, 0),
  shift: lax.whole(0, -128, 127),
  share: lax.number(0),
  on: lax.flag(false),
  seed: lax.whole(null, 0),
  sizes: lax.listOf(lax.whole(), []),
  kind: lax.oneOf(["Plain", "Bent"], "Plain"),
};

const read = (params) => argumentsOf(params, "Dynamic Prompts", TABLE, HOST);
const said = (args) => ({ alwayson_scripts: { other: null, "Dynamic Prompts": { args } } });

test("the arguments of a script are read as in every kit", () => {
  for (const { read, value, of, gives, refused } of CASES.listed) {
    const list = new Arguments(value === undefined ? [] : [value], HOST);
    const work = () => (read.startsWith("text") ? list[read](0) : list[read](0, "It", of));
    const about = `${read} of ${JSON.stringify(value)}`;
    if (refused) assert.throws(work, { tag: "invalid-input", message: refused }, about);
    else assert.deepEqual(work(), gives, about);
  }
});

test("what a request says to a plugin is read as in every kit", () => {
  const defaults = read(said({}));
  for (const { key, args, gives, refused } of CASES.named) {
    const work = () => read({ alwayson_scripts: { [key]: { args } } });
    const about = `${key}: ${JSON.stringify(args)}`;
    if (refused) {
      const isTold = ({ tag, message }) => tag === "invalid-input" && message.startsWith(refused);
      assert.throws(work, isTold, about);
    } else {
      assert.deepEqual(work(), gives && { ...defaults, ...gives }, about);
    }
  }
});

test("a request that says nothing says nothing", () => {
  for (const alwayson_scripts of [undefined, null, { "Dynamic Prompts": null }]) {
    assert.equal(read({ alwayson_scripts }), null);
  }
});

test("what has no default must be there", () => {
  const table = { first: lax.whole(), second: lax.whole(null) };
  assert.deepEqual(lax.fromValue([1, null], table, HOST), { first: 1, second: null });
  for (const wrong of [{ second: 2 }, [null, 2]]) {
    assert.throws(() => lax.fromValue(wrong, table, HOST), { tag: "invalid-input", message: "missing field `first`" });
  }
});

test("numbers out of bounds are told the bounds", () => {
  for (const [share, expected] of [
    [lax.number(0, 0, 1), "a number between 0 and 1"],
    [lax.whole(0, 5), "a whole number of at least 5"],
    [lax.whole(0, null, 1), "a whole number of at most 1"],
  ]) {
    const message = `share: invalid value: integer \`2\`, expected ${expected}`;
    assert.throws(() => lax.fromValue({ share: 2 }, { share }, HOST), { tag: "invalid-input", message });
  }
});

test("a default stays as it is declared", () => {
  read(said({})).sizes.push(7);
  assert.deepEqual(read(said({})).sizes, []);
});
