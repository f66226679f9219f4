// What of the real host needs no component: its sentences. `tests/plugins/kits.rs` runs this in a project.

import assert from "node:assert/strict";
import { test } from "node:test";
import { body, bytes, json, pairs, whole } from "./.kit/checks.js";
import { Host as FakeHost, Picture as FakePicture, StepTensor as FakeTensor } from "./.kit/fake.js";
import { Host, Picture, StepTensor, answered, imageOf } from "./.kit/host.js";

function logging() {
  const lines = [];
  return { lines, log: (level, line) => lines.push(`${level}: ${line}`) };
}

/** What a call that does `work` ends with. */
function failed(work, call = logging()) {
  try {
    answered(call, work);
  } catch (fault) {
    return fault;
  }
  throw new Error("it went well");
}

const picture = () => {
  const asked = [];
  const image = {
    desc: () => ({ width: 2, height: 3, format: "rgb8" }),
    readRows: (first, count) => asked.push([first, count]),
    writeRows: (first, rows) => asked.push(rows),
  };
  return { asked, picture: new Picture(image) };
};

test("faults are the contract's, and what it has no word for is a surprise with a trace", () => {
  const host = new Host({});
  const spent = failed(() => {
    throw host.fault("limit-exceeded", "ten a day");
  });
  assert.deepEqual(spent, { tag: "limit-exceeded", val: "ten a day" });
  const gone = failed(() => {
    throw host.fault("cancelled");
  });
  assert.deepEqual(gone, { tag: "cancelled" });
  const call = logging();
  const rejected = failed(() => {
    throw host.rejected("not here");
  }, call);
  assert.deepEqual(rejected, { tag: "other", val: "Error: not here" });
  assert.match(call.lines.join("\n"), /error: Error: not here[^]*host\.test\.js/);
  for (const one of [host, new FakeHost()]) {
    assert.throws(() => one.fault("limit", "ten a day"), /`tag` must be one of .*limit-exceeded.*, not "limit"/);
    assert.equal(one.fault("unavailable", "later").tag, "unavailable");
  }
});

test("a number with a fraction is refused before it reaches the host", () => {
  const { asked, picture: real } = picture();
  for (const one of [real, new FakePicture(2, 3)]) {
    assert.throws(() => one.readRows(0, 1.5), /`count` must be a whole number from 0 to 2147483647, not 1\.5/);
    assert.throws(() => one.readRows(-1, 1), /`first` must be .*, not -1/);
  }
  assert.deepEqual(asked, []);
  real.readRows(0, 2);
  assert.deepEqual(asked, [[0, 2]]);
  assert.throws(() => whole("columns", "2"), /`columns` must be .*, not "2"/);
  assert.throws(() => whole("columns", 2n), /not the BigInt 2/);
  assert.equal(whole("status", 404, 999), 404);
});

test("words that the contract does not have are refused, by the fake too", () => {
  const call = logging();
  const [host, fake] = [new Host({ call, images: {} }), new FakeHost()];
  for (const one of [host, fake]) {
    assert.throws(() => one.log("x", "warning"), /`level` must be one of debug, info, warn, error, not "warning"/);
    assert.throws(() => one.newPicture(1, 1, "rgb"), /`format` must be one of gray8, rgb8, rgba8, not "rgb"/);
    one.log(7, "warn");
  }
  assert.deepEqual([call.lines, fake.logged], [["warn: 7"], [["warn", "7"]]]);
  for (const tensor of [new StepTensor({}), new FakeTensor([1, 1, 1])]) {
    assert.throws(() => tensor.apply("abs"), /`op` must be one of absolute, .*, not "abs"/);
    assert.throws(() => tensor.reduce("sum", "rows"), /`over` must be one of everything, places, channels/);
    assert.throws(() => tensor.slice("height", 0, 1), /`along` must be one of channels, rows, columns/);
    assert.throws(() => tensor.reduce("quantile"), { tag: "invalid-input", message: /0 to 1, not null/ });
  }
});

test("bytes, texts and pictures come to what the contract takes, or are refused by name", () => {
  const { asked, picture: real } = picture();
  real.writeRows(0, new Uint8ClampedArray([300, 2]));
  assert.deepEqual(asked, [Uint8Array.of(255, 2)]);
  assert.deepEqual([...bytes("value", "ä")], [0xc3, 0xa4]);
  assert.throws(() => bytes("file", { a: 1 }), /`file` must be bytes or text, not Object/);
  assert.deepEqual(bytes("value", [0, 255]), Uint8Array.of(0, 255));
  for (const wrong of [[256], [-1], [1.5], ["a"]]) {
    assert.throws(() => bytes("value", wrong), /`value` must be bytes or text, not Array/);
  }
  assert.throws(() => json("data", () => 1), /`data` must be what JSON can say/);
  assert.deepEqual(pairs({ Brightness: 50 }), [["Brightness", "50"]]);
  assert.throws(() => imageOf({ image: undefined }), /`picture` must be a picture/);
  assert.throws(() => new StepTensor({}).combine("add", 5), /`other` must be a tensor/);
});

test("an answer's body goes out as what it is, or is refused", () => {
  const binary = ["application/octet-stream", Uint8Array.of(1, 2)];
  for (const value of [Uint8Array.of(1, 2), Uint8ClampedArray.of(1, 2), Uint8Array.of(1, 2).buffer]) {
    assert.deepEqual(body(value), binary);
  }
  assert.deepEqual(body("a"), ["text/plain; charset=utf-8", bytes("body", "a")]);
  assert.deepEqual(body({ a: [1] }), ["application/json", bytes("body", '{"a":[1]}')]);
  assert.deepEqual(body(undefined), ["application/json", bytes("body", "null")]);
  assert.throws(() => body(() => 1), /`body` must be what JSON can say/);
});

test("what a world lacks is told in its words", () => {
  const [step, request] = [new Host({ assets: {} }), new Host({ images: {}, folders: null })];
  for (const [work, says] of [
    [() => step.generate({}), /draws nothing: scripts and picture hooks/],
    [() => step.upscale(null, "Lanczos", 2), /draws nothing/],
    [() => step.interrogate(null, "clip"), /draws nothing/],
    [() => step.newPicture(1, 1), /makes no pictures: request hooks/],
    [() => step.readFile("cards", "a"), /reads no granted folders: request hooks alone/],
    [() => request.listFiles("cards"), /add "wants": \{"folders"/],
  ]) {
    assert.throws(work, { tag: "not-permitted", message: says });
  }
});
