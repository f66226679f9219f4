// The fakes do what the host does, as far as plugins' tests go. `tests/plugins/kits.rs` runs this in a project.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Host, Picture, StepTensor, drawnPicture, fault, moment } from "./.kit/fake.js";

const counted = () => new StepTensor([2, 2, 3], Array.from({ length: 12 }, (_, at) => at));

test("reductions are those of the definitions", () => {
  for (const [op, over, share, want] of [
    ["sum", "everything", null, [66]],
    ["mean", "places", null, [2.5, 8.5]],
    ["maximum", "channels", null, [6, 7, 8, 9, 10, 11]],
    ["deviation", "places", null, Array(2).fill(Math.fround(Math.sqrt(3.5)))],
    ["quantile", "places", 0.9, [4.5, 10.5]],
  ]) {
    assert.deepEqual([...counted().reduce(op, over, share).read()], want, op);
  }
});

test("a reduction meets larger tensors everywhere, and not the other way round", () => {
  const tensor = counted();
  const mean = tensor.reduce("mean", "places");
  tensor.combine("subtract", mean);
  assert.deepEqual([...tensor.read()].slice(6), [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]);
  assert.throws(() => mean.combine("add", tensor), { tag: "invalid-input" });
});

test("functions of each element are those of mathematics", () => {
  for (const [op, want] of [
    ["floor", [-1, 0, 1]],
    ["sine", [-0.4794255, 0, 0.841471]],
    ["arc-cosine", [2.0943951, 1.5707963, 0]],
  ]) {
    const tensor = new StepTensor([1, 1, 3], [-0.5, 0, 1]);
    tensor.apply(op);
    tensor.read().forEach((got, at) => assert.ok(Math.abs(got - want[at]) < 1e-6, `${op}: ${got}`));
  }
});

test("every number is a number, seeds too, and a BigInt is refused as the real host refuses it", () => {
  assert.deepEqual([moment().seed, drawnPicture().seed, drawnPicture().subseed, new Host().seed], [0, 0, 0, 0]);
  const [one, other] = [counted(), counted()];
  one.draw(2 ** 40 + 7);
  other.draw(2 ** 40 + 7);
  assert.deepEqual(one.read(), other.read());
  assert.throws(() => one.draw(7n), { tag: "invalid-input" });
});

test("a part is cut out and put elsewhere", () => {
  const tensor = counted();
  const column = tensor.slice("columns", 2, 1);
  assert.deepEqual([...column.read()], [2, 5, 8, 11]);
  tensor.paste("columns", 0, column);
  assert.deepEqual([...tensor.read()].slice(0, 6), [2, 1, 2, 5, 4, 5]);
  assert.throws(() => tensor.slice("rows", 2, 9), { tag: "invalid-input" });
  assert.throws(() => tensor.paste("rows", 0, column), { tag: "invalid-input" });
});

test("a quantile without its share is refused", () => {
  assert.throws(() => counted().reduce("quantile"), { tag: "invalid-input" });
});

test("what is not named is refused as the host refuses it", () => {
  const host = new Host({ folders: { cards: { "colours.txt": Uint8Array.of(1) } } });
  assert.deepEqual([...host.readFile("cards", "colours.txt")], [1]);
  assert.throws(() => host.readFile("cards", "none.txt"), { tag: "invalid-input" });
  assert.throws(() => host.listFiles("none"), { tag: "not-permitted" });
  assert.throws(() => host.runNetwork("none", []), { tag: "not-permitted" });
  assert.throws(() => host.networks(), { tag: "not-permitted" });
  assert.deepEqual(new Host({ networks: { depth: () => [] } }).networks(), ["depth"]);
});

test("words for pictures are those of two models", () => {
  const words = ["CLIP", "deepbooru"].map((model) => new Host().interrogate(new Picture(3, 2), model));
  assert.deepEqual(words, ["a picture of 3 by 2 pixels", "3 wide, 2 high"]);
  assert.throws(() => new Host().interrogate(new Picture(3, 2), "blip"), { tag: "invalid-input" });
});

test("a drawing is what the test says, or the fault that a server gives", () => {
  const draw = ({ steps }, sources, mask) => {
    if (steps > 100) throw fault("limit-exceeded", "too much is asked for");
    return { images: [...sources, mask], infotexts: ["one", "two"], info: {} };
  };
  const [host, source, mask] = [new Host({ draw, cancelled: true }), new Picture(1, 1), new Picture(1, 1, "gray8")];
  assert.deepEqual(host.generate({ steps: 1 }, [source], mask).finish().images, [source, mask]);
  assert.throws(() => host.generate({ steps: 101 }).finish(), { tag: "limit-exceeded", message: /too much/ });
  const job = host.generate({ steps: 1 });
  job.cancel();
  assert.equal(fault("cancelled").message, "cancelled");
  assert.throws(() => job.finish(), { tag: "cancelled" });
  assert.deepEqual([host.drawings.map(({ steps }) => steps), host.cancelled()], [[1, 101, 1], true]);
});

test("grey is the host's", () => {
  // Weights in 1/65536 would make it 132.
  const grey = new Picture(1, 1, "rgb8", [2, 223, 0]).convert("gray8");
  assert.deepEqual([...grey.readRows(0, 1)], [131]);
});
