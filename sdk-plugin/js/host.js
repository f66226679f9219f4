// The real host, on the interfaces of the contract that a world imports. Numbers of 64 bits cross as numbers, exact up to 2^53;
// a BigInt would end the component.

import { random } from "./random.js";
import { bytesOf } from "./utf8.js";

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
    if (error instanceof Fault) {
      throw SILENT.includes(error.tag) ? { tag: error.tag } : { tag: error.tag, val: error.message };
    }
    call.log("error", `${error}`);
    for (const line of (error?.stack ?? "").trimEnd().split("\n")) call.log("error", line);
    throw { tag: "other", val: `${error}` };
  }
}

export class Picture {
  constructor(image) {
    this.image = image;
    Object.assign(this, image.desc());
  }
  readRows(first, count) {
    return asked(() => this.image.readRows(first, count));
  }
  writeRows(first, rows) {
    asked(() => this.image.writeRows(first, rows));
  }
  resize(width, height) {
    return new Picture(asked(() => this.image.resize(width, height)));
  }
  convert(to) {
    return new Picture(asked(() => this.image.convert(to)));
  }
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
    asked(() => this.tensor.apply(op));
  }
  combine(op, other) {
    asked(() => this.tensor.combine(op, other.tensor));
  }
  combineNumber(op, number) {
    asked(() => this.tensor.combineNumber(op, number));
  }
  reduce(op, over = "everything", share = null) {
    const reduction = op === "quantile" ? { tag: op, val: share } : { tag: op };
    return new StepTensor(asked(() => this.tensor.reduce(reduction, over)));
  }
  slice(along, first, count) {
    return new StepTensor(asked(() => this.tensor.slice(along, first, count)));
  }
  paste(along, first, other) {
    asked(() => this.tensor.paste(along, first, other.tensor));
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
    return asked(() => this.kv.get(key)) ?? null;
  }
  exists(key) {
    return asked(() => this.kv.exists(key));
  }
  set(key, value) {
    asked(() => this.kv.set(key, bytes(value)));
  }
  remove(key) {
    asked(() => this.kv.remove(key));
  }
  swap(key, expected, value) {
    const [before, after] = [expected, value].map((one) => (one == null ? null : bytes(one)));
    return asked(() => this.kv.swap(key, before, after));
  }
  update(key, change) {
    for (;;) {
      const old = this.get(key);
      const made = change(old) ?? null;
      if (this.swap(key, old, made)) return made;
    }
  }
  listKeys(prefix = "", after = null) {
    return asked(() => this.kv.listKeys(prefix, after));
  }
}

class Blobs {
  constructor(blobs) {
    this.blobs = blobs;
  }
  size(name) {
    return asked(() => this.blobs.size(name)) ?? null;
  }
  read(name, offset = 0, length = 8 << 20) {
    return asked(() => this.blobs.read(name, offset, length));
  }
  put(name, value) {
    asked(() => this.blobs.put(name, bytes(value)));
  }
  remove(name) {
    asked(() => this.blobs.remove(name));
  }
  list(prefix = "", after = null) {
    return asked(() => this.blobs.list(prefix, after));
  }
}

/** Text is kept as UTF-8. */
function bytes(value) {
  return typeof value === "string" ? bytesOf(value) : value;
}

/** Of worlds that have no stores; where one is not wanted, it is null. */
const KEEPS_NOTHING = "this world keeps nothing: every one but request-hook and step-hook does";

export class Host {
  constructor(interfaces) {
    this.interfaces = interfaces;
    this.Fault = Fault;
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
  log(text, level = "info") {
    this.interfaces.call.log(level, `${text}`);
  }
  cancelled() {
    return this.interfaces.call.cancelled();
  }
  invalidInput(sentence) {
    return new Fault("invalid-input", sentence);
  }
  rejected(sentence) {
    return new Fault("rejected", sentence);
  }
  newPicture(width, height, format = "rgb8") {
    return new Picture(asked(() => this.interfaces.images.Image.allocate({ width, height, format })));
  }
  listFiles(folder) {
    return asked(() => this.#folders().list(folder));
  }
  readFile(folder, path) {
    return asked(() => this.#folders().read(folder, path));
  }
  generate(params, initImages = [], mask = null) {
    const { inference } = this.interfaces;
    const lent = initImages.map((picture) => picture.image);
    return new Job(inference, asked(() => inference.generate(JSON.stringify(params), lent, mask && mask.image)));
  }
  upscale(picture, upscaler, factor) {
    return new Picture(asked(() => this.interfaces.inference.upscale(picture.image, upscaler, factor)));
  }
  interrogate(picture, model) {
    return asked(() => this.interfaces.inference.interrogate(picture.image, model));
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
    return { list: () => assets.list(), read: (name) => asked(() => assets.read(name)) };
  }
  networks() {
    return asked(() => this.#models().list());
  }
  aboutNetwork(network) {
    const text = asked(() => this.#models().about(network));
    return text == null ? null : JSON.parse(text);
  }
  runNetwork(network, inputs) {
    return asked(() => this.#models().run(network, inputs));
  }
  #models() {
    if (this.interfaces.models) return this.interfaces.models;
    throw new Fault("not-permitted", "this world runs no networks: annotators, scripts, picture hooks and HTTP APIs do");
  }
  #folders() {
    if (this.interfaces.folders) return this.interfaces.folders;
    throw new Fault("not-permitted", 'the manifest wants no folder: add "wants": {"folders": ["name"]}');
  }
}
