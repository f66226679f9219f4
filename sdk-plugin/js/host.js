// The real host, on the interfaces of the contract that a world imports. Numbers of 64 bits cross as numbers, exact up to 2^53;
// a BigInt would end the component.

import { U64_MAX, WORDS, bytes, json, number, text, whole, word } from "./checks.js";
import { random } from "./random.js";

export class Fault extends Error {
  constructor(tag, sentence) {
    super(sentence ?? tag);
    this.tag = tag;
  }
}

/** What the host answers, with its faults as errors. */
function asked(work) {
  try {
    return work();
  } catch (fault) {
    // Methods of handles throw an error around the fault, functions the fault itself.
    const told = fault instanceof Error ? fault.payload : fault;
    if (told?.tag === undefined) throw fault;
    throw new Fault(told.tag, told.val);
  }
}

/** Where `console` ends: the plugin's own log, line by line. */
export function consoleOn(call) {
  const at = (level) => (...parts) => `${parts.map(shown).join(" ")}`.split("\n").forEach((line) => call.log(level, line));
  return { debug: at("debug"), log: at("info"), info: at("info"), warn: at("warn"), error: at("error") };
}

function shown(part) {
  return typeof part === "object" && part !== null && !(part instanceof Error) ? JSON.stringify(part) : String(part);
}

const SILENT = ["cancelled", "deadline-exceeded"];

/** What the plugin answers, with its errors as faults. A surprise goes into the log as a whole. */
export function answered(call, work) {
  try {
    return work();
  } catch (error) {
    // What is rejected is a verdict of `before`, and no fault anywhere else.
    if (error instanceof Fault && WORDS.fault.includes(error.tag)) {
      throw SILENT.includes(error.tag) ? { tag: error.tag } : { tag: error.tag, val: error.message };
    }
    call.log("error", `${error}`);
    for (const line of `${error?.stack ?? ""}`.trimEnd().split("\n")) call.log("error", line);
    throw { tag: "other", val: `${error}` };
  }
}

export class Picture {
  constructor(image) {
    this.image = image;
    Object.assign(this, image.desc());
  }
  readRows(first, count) {
    return asked(() => this.image.readRows(whole("first", first), whole("count", count)));
  }
  writeRows(first, rows) {
    asked(() => this.image.writeRows(whole("first", first), bytes("rows", rows)));
  }
  resize(width, height) {
    return new Picture(asked(() => this.image.resize(whole("width", width), whole("height", height))));
  }
  convert(to) {
    return new Picture(asked(() => this.image.convert(word("to", to, WORDS.format))));
  }
}

/** The handle of a picture that goes to the host. */
export function imageOf(picture) {
  if (picture instanceof Picture) return picture.image;
  throw new TypeError("`picture` must be a picture that the host gave");
}

/** A tensor within a sampler's step. */
export class StepTensor {
  constructor(tensor) {
    this.tensor = tensor;
  }
  shape() {
    return asked(() => this.tensor.shape());
  }
  duplicate() {
    return new StepTensor(asked(() => this.tensor.duplicate()));
  }
  apply(op) {
    asked(() => this.tensor.apply(word("op", op, WORDS.unary)));
  }
  combine(op, other) {
    asked(() => this.tensor.combine(word("op", op, WORDS.binary), handleOf(other)));
  }
  combineNumber(op, value) {
    asked(() => this.tensor.combineNumber(word("op", op, WORDS.binary), number("number", value)));
  }
  reduce(op, over = "everything", share = null) {
    const tag = word("op", op, WORDS.reduction);
    if (tag === "quantile" && typeof share !== "number") {
      throw new Fault("invalid-input", `a quantile's share is 0 to 1, not ${share}`);
    }
    const reduction = tag === "quantile" ? { tag, val: share } : { tag };
    return new StepTensor(asked(() => this.tensor.reduce(reduction, word("over", over, WORDS.over))));
  }
  slice(along, first, count) {
    const axis = word("along", along, WORDS.axis);
    return new StepTensor(asked(() => this.tensor.slice(axis, whole("first", first), whole("count", count))));
  }
  paste(along, first, other) {
    asked(() => this.tensor.paste(word("along", along, WORDS.axis), whole("first", first), handleOf(other)));
  }
  draw(seed) {
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 64) {
      throw new Fault("invalid-input", `a seed is a whole number from 0 to 2^64, not ${seed}`);
    }
    asked(() => this.tensor.draw(seed));
  }
  read() {
    return Float32Array.from(asked(() => this.tensor.read()));
  }
  write(values) {
    asked(() => this.tensor.write(Float32Array.from(values)));
  }
}

function handleOf(other) {
  if (other instanceof StepTensor) return other.tensor;
  throw new TypeError("`other` must be a tensor that the host gave; `combineNumber` takes a number");
}

class Job {
  constructor(inference, job) {
    this.inference = inference;
    this.job = job;
  }
  progress() {
    return this.job.progress();
  }
  cancel() {
    this.job.cancel();
  }
  finish() {
    const drawn = asked(() => this.inference.finish(this.job));
    return { images: drawn.images.map((image) => new Picture(image)), infotexts: drawn.infotexts, info: JSON.parse(drawn.info) };
  }
}

class Kv {
  constructor(kv) {
    this.kv = kv;
  }
  get(key) {
    return asked(() => this.kv.get(text("key", key))) ?? null;
  }
  exists(key) {
    return asked(() => this.kv.exists(text("key", key)));
  }
  set(key, value) {
    asked(() => this.kv.set(text("key", key), bytes("value", value)));
  }
  remove(key) {
    asked(() => this.kv.remove(text("key", key)));
  }
  swap(key, expected, value) {
    const before = expected == null ? null : bytes("expected", expected);
    const after = value == null ? null : bytes("value", value);
    return asked(() => this.kv.swap(text("key", key), before, after));
  }
  update(key, change) {
    for (;;) {
      const old = this.get(key);
      const made = change(old) ?? null;
      if (this.swap(key, old, made)) return made;
    }
  }
  listKeys(prefix = "", after = null) {
    return asked(() => this.kv.listKeys(...behind(prefix, after)));
  }
}

class Blobs {
  constructor(blobs) {
    this.blobs = blobs;
  }
  size(name) {
    return asked(() => this.blobs.size(text("name", name))) ?? null;
  }
  read(name, offset = 0, length = 8 << 20) {
    const part = [whole("offset", offset, U64_MAX), whole("length", length)];
    return asked(() => this.blobs.read(text("name", name), ...part));
  }
  put(name, value) {
    asked(() => this.blobs.put(text("name", name), bytes("value", value)));
  }
  remove(name) {
    asked(() => this.blobs.remove(text("name", name)));
  }
  list(prefix = "", after = null) {
    return asked(() => this.blobs.list(...behind(prefix, after)));
  }
}

/** Where a page of names begins. */
function behind(prefix, after) {
  return [text("prefix", prefix), after == null ? null : text("after", after)];
}

/** Of worlds that have no stores; where one is not wanted, it is null. */
const KEEPS_NOTHING = "this world keeps nothing: every one but request-hook and step-hook does";

export class Host {
  constructor(interfaces) {
    this.interfaces = interfaces;
  }
  get requestId() {
    return this.interfaces.call.requestId();
  }
  get seed() {
    return this.interfaces.call.seed();
  }
  get settings() {
    return JSON.parse(this.interfaces.call.settings());
  }
  random() {
    return random(this.seed);
  }
  log(line, level = "info") {
    this.interfaces.call.log(word("level", level, WORDS.level), `${line}`);
  }
  cancelled() {
    return this.interfaces.call.cancelled();
  }
  invalidInput(sentence) {
    return new Fault("invalid-input", sentence);
  }
  fault(tag, sentence) {
    return new Fault(word("tag", tag, WORDS.fault), sentence);
  }
  rejected(sentence) {
    return new Fault("rejected", sentence);
  }
  newPicture(width, height, format = "rgb8") {
    const size = { width: whole("width", width), height: whole("height", height) };
    const desc = { ...size, format: word("format", format, WORDS.format) };
    return new Picture(asked(() => this.#images().Image.allocate(desc)));
  }
  listFiles(folder) {
    return asked(() => this.#folders().list(text("folder", folder)));
  }
  readFile(folder, path) {
    return asked(() => this.#folders().read(text("folder", folder), text("path", path)));
  }
  generate(params, initImages = [], mask = null) {
    const inference = this.#inference();
    const lent = [initImages.map(imageOf), mask == null ? null : imageOf(mask)];
    return new Job(inference, asked(() => inference.generate(json("params", params), ...lent)));
  }
  upscale(picture, upscaler, factor) {
    const how = [text("upscaler", upscaler), number("factor", factor)];
    return new Picture(asked(() => this.#inference().upscale(imageOf(picture), ...how)));
  }
  interrogate(picture, model) {
    return asked(() => this.#inference().interrogate(imageOf(picture), text("model", model)));
  }
  get kv() {
    if (this.interfaces.kv === undefined) throw new Fault("not-permitted", KEEPS_NOTHING);
    if (this.interfaces.kv) return new Kv(this.interfaces.kv);
    throw new Fault("not-permitted", 'the manifest wants no bytes for values: add "wants": {"kv_bytes": 65536}');
  }
  get blobs() {
    if (this.interfaces.blobs === undefined) throw new Fault("not-permitted", KEEPS_NOTHING);
    if (this.interfaces.blobs) return new Blobs(this.interfaces.blobs);
    throw new Fault("not-permitted", 'the manifest wants no bytes for blobs: add "wants": {"blob_bytes": 1048576}');
  }
  get assets() {
    const { assets } = this.interfaces;
    if (!assets) throw new Fault("not-permitted", "this world carries no files: every one but request-hook does");
    return { list: () => assets.list(), read: (name) => asked(() => assets.read(text("name", name))) };
  }
  networks() {
    return asked(() => this.#models().list());
  }
  aboutNetwork(network) {
    const about = asked(() => this.#models().about(text("network", network)));
    return about == null ? null : JSON.parse(about);
  }
  runNetwork(network, inputs) {
    const given = inputs.map(({ shape, values }) => ({
      shape: Array.from(shape, (side) => whole("shape", side)),
      values: values instanceof Float32Array ? values : Float32Array.from(values),
    }));
    return asked(() => this.#models().run(text("network", network), given));
  }
  #images() {
    if (this.interfaces.images) return this.interfaces.images;
    const which = "request hooks, annotators, picture hooks, scripts, grid hooks and HTTP APIs do";
    throw new Fault("not-permitted", `this world makes no pictures: ${which}`);
  }
  #inference() {
    if (this.interfaces.inference) return this.interfaces.inference;
    throw new Fault("not-permitted", "this world draws nothing: scripts and picture hooks do");
  }
  #models() {
    if (this.interfaces.models) return this.interfaces.models;
    throw new Fault("not-permitted", "this world runs no networks: annotators, scripts, picture hooks and HTTP APIs do");
  }
  #folders() {
    if (this.interfaces.folders) return this.interfaces.folders;
    if (this.interfaces.folders === undefined) {
      throw new Fault("not-permitted", "this world reads no granted folders: request hooks alone do");
    }
    throw new Fault("not-permitted", 'the manifest wants no folder: add "wants": {"folders": ["name"]}');
  }
}
