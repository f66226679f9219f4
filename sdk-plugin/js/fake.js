// A host for unit tests: pictures in memory, drawings that end at once. `node --test` with it needs no server.

import { WORDS, bytes, json, whole, word } from "./checks.js";
import { random } from "./random.js";
import { bytesOf, textOf } from "./utf8.js";

const CHANNELS = { gray8: 1, rgb8: 3, rgba8: 4 };

/** What a host throws, with the contract's word for it. */
export function fault(tag, sentence) {
  return Object.assign(new Error(sentence ?? tag), { tag });
}

/** A picture, black where no `rows` are given. Resizing takes the nearest pixel; the real host has Lanczos. */
export class Picture {
  constructor(width, height, format = "rgb8", rows = null) {
    this.width = whole("width", width);
    this.height = whole("height", height);
    this.format = word("format", format, WORDS.format);
    this.stride = width * CHANNELS[format];
    this.rows = rows ? Uint8Array.from(rows) : new Uint8Array(this.stride * height);
    if (this.rows.length !== this.stride * height) {
      throw new Error(`${this.rows.length} bytes are no ${width}x${height} picture in ${format}`);
    }
  }

  readRows(first, count) {
    this.#check(first, count);
    return this.rows.slice(first * this.stride, (first + count) * this.stride);
  }

  writeRows(first, pixels) {
    const rows = bytes("rows", pixels);
    if (rows.length % this.stride !== 0) throw fault("invalid-input", "only whole rows can be written");
    this.#check(first, rows.length / this.stride);
    this.rows.set(rows, first * this.stride);
  }

  resize(width, height) {
    const made = new Picture(width, height, this.format);
    const from = (x, y) => Math.trunc((y * this.height) / height) * this.width + Math.trunc((x * this.width) / width);
    return made.#fill((x, y) => this.#pixel(from(x, y)));
  }

  convert(to) {
    const made = new Picture(this.width, this.height, to);
    return made.#fill((x, y) => converted(this.#pixel(y * this.width + x), to));
  }

  #pixel(at) {
    const size = CHANNELS[this.format];
    return this.rows.subarray(at * size, (at + 1) * size);
  }

  #fill(pixel) {
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        this.rows.set(pixel(x, y), (y * this.width + x) * CHANNELS[this.format]);
      }
    }
    return this;
  }

  #check(first, count) {
    if (whole("first", first) + whole("count", count) > this.height) {
      throw fault("invalid-input", `rows ${first} to ${first + count} are not in a picture of ${this.height}`);
    }
  }
}

function converted(pixel, to) {
  const [red, green, blue] = pixel.length > 1 ? pixel : [pixel[0], pixel[0], pixel[0]];
  // ITU-R BT.601, as the host has it.
  if (to === "gray8") return [Math.trunc((299 * red + 587 * green + 114 * blue + 500) / 1000)];
  return [red, green, blue, pixel[3] ?? 255].slice(0, CHANNELS[to]);
}

const UNARY = {
  absolute: Math.abs,
  "square-root": Math.sqrt,
  exponential: Math.exp,
  logarithm: Math.log,
  tanh: Math.tanh,
  sign: Math.sign,
  sine: Math.sin,
  cosine: Math.cos,
  "arc-cosine": Math.acos,
  floor: Math.floor,
};
const BINARY = {
  add: (one, two) => one + two,
  subtract: (one, two) => one - two,
  multiply: (one, two) => one * two,
  divide: (one, two) => one / two,
  minimum: Math.min,
  maximum: Math.max,
  power: Math.pow,
};
const sum = (values) => values.reduce((one, two) => one + two, 0);
const mean = (values) => sum(values) / values.length;
const REDUCTIONS = {
  sum,
  mean,
  deviation(values) {
    const middle = mean(values);
    return Math.sqrt(sum(values.map((value) => (value - middle) ** 2)) / (values.length - 1));
  },
  minimum: (values) => values.reduce((one, two) => Math.min(one, two)),
  maximum: (values) => values.reduce((one, two) => Math.max(one, two)),
  norm: (values) => Math.sqrt(sum(values.map((value) => value ** 2))),
  quantile(values, share) {
    if (share == null || !(share >= 0 && share <= 1)) throw fault("invalid-input", `a quantile's share is 0 to 1, not ${share}`);
    const [ordered, place] = [[...values].sort((one, two) => one - two), share * (values.length - 1)];
    const [below, above] = [ordered[Math.floor(place)], ordered[Math.ceil(place)]];
    return below + (place % 1) * (above - below);
  },
};
/** What a place becomes where a reduction has gone over it. */
const OVER = {
  everything: () => [0, 0, 0],
  places: ([channel]) => [channel, 0, 0],
  channels: ([, row, column]) => [0, row, column],
};

/** A tensor within a sampler's step; `values` has the elements row by row, 0 where none are given. `draw` gives other numbers
 * than the real one. */
export class StepTensor {
  #shape;
  constructor(shape, values = null) {
    const count = shape.reduce((one, two) => one * two, 1);
    this.#shape = [...shape];
    this.values = values ? Float32Array.from(values) : new Float32Array(count);
    if (this.values.length !== count) throw new Error(`${this.values.length} numbers are no tensor of ${shape}`);
  }

  shape() {
    return [...this.#shape];
  }

  duplicate() {
    return new StepTensor(this.#shape, this.values);
  }

  apply(op) {
    const work = UNARY[word("op", op, WORDS.unary)];
    this.values = this.values.map((value) => work(value));
  }

  combine(op, other) {
    const work = BINARY[word("op", op, WORDS.binary)];
    if (other.#shape.some((side, axis) => side !== 1 && side !== this.#shape[axis])) {
      throw fault("invalid-input", `a tensor of ${other.#shape} does not meet one of ${this.#shape}`);
    }
    this.values = Float32Array.from(this.#places(), (place, at) => work(this.values[at], other.values[other.#index(place)]));
  }

  combineNumber(op, number) {
    this.combine(op, new StepTensor([1, 1, 1], [number]));
  }

  reduce(op, over = "everything", share = null) {
    const [work, left] = [REDUCTIONS[word("op", op, WORDS.reduction)], OVER[word("over", over, WORDS.over)]];
    const gone = new Map();
    this.#places().forEach((place, at) => {
      const key = left(place).join();
      if (!gone.has(key)) gone.set(key, []);
      gone.get(key).push(this.values[at]);
    });
    const shape = this.#shape.map((side, axis) => (left([1, 1, 1])[axis] ? side : 1));
    return new StepTensor(shape, [...gone.values()].map((values) => work(values, share)));
  }

  slice(along, first, count) {
    const axis = WORDS.axis.indexOf(word("along", along, WORDS.axis));
    if (!(whole("count", count) > 0 && whole("first", first) + count <= this.#shape[axis])) {
      throw fault("invalid-input", `${count} of the ${along} from ${first} on are not there; the tensor has ${this.#shape[axis]}`);
    }
    const shape = this.#shape.with(axis, count);
    const inside = this.#places().filter((place) => place[axis] >= first && place[axis] < first + count);
    return new StepTensor(shape, inside.map((place) => this.values[this.#index(place)]));
  }

  paste(along, first, other) {
    const axis = WORDS.axis.indexOf(word("along", along, WORDS.axis));
    if (`${this.slice(along, first, other.#shape[axis]).#shape}` !== `${other.#shape}`) {
      throw fault("invalid-input", `a tensor of ${other.#shape} does not go into one of ${this.#shape}`);
    }
    other.#places().forEach((place, at) => {
      this.values[this.#index(place.with(axis, place[axis] + first))] = other.values[at];
    });
  }

  draw(seed) {
    if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 64) {
      throw fault("invalid-input", `a seed is a whole number from 0 to 2^64, not ${seed}`);
    }
    const next = random(seed);
    // Box and Muller's way from even numbers to normal ones.
    this.values = this.values.map(() => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
  }

  read() {
    return this.values.slice();
  }

  write(values) {
    if (values.length !== this.values.length) {
      throw fault("invalid-input", `${values.length} values for a tensor of ${this.values.length}`);
    }
    this.values = Float32Array.from(values);
  }

  #places() {
    const [channels, rows, columns] = this.#shape;
    return Array.from({ length: channels * rows * columns }, (_, at) => {
      return [Math.trunc(at / columns / rows), Math.trunc(at / columns) % rows, at % columns];
    });
  }

  /** Where an element of a larger tensor, or of this one, is met. */
  #index(place) {
    const [channel, row, column] = place.map((at, axis) => Math.min(at, this.#shape[axis] - 1));
    return (channel * this.#shape[1] + row) * this.#shape[2] + column;
  }
}

/** A moment of a drawing, with changes. */
export function moment(changes = {}) {
  const noise = { sigma: 1, scale: 1, timestep: 354, guidance: 7 };
  return { point: "guided", step: 0, steps: 20, call: 0, ...noise, picture: 0, seed: 0, isSecond: false, ...changes };
}

/** A request to an HTTP API. @param {string | Uint8Array} body */
export function request(method, path, body = "", headers = {}) {
  const bytes = typeof body === "string" ? bytesOf(body) : body;
  const [place, query = ""] = path.split(/\?(.*)/s);
  return { method, path: place, query, headers, body: bytes, text: () => textOf(bytes) };
}

/** What a picture hook is told of a picture, with changes. */
export function drawnPicture(changes = {}) {
  const about = { place: 0, count: 1, stage: "composited", prompt: "", negativePrompt: "", infotext: "" };
  return { ...about, seed: 0, subseed: 0, ...changes };
}

/** The first 256 names behind `after`, in the order of their bytes. */
function page(names, prefix, after) {
  // By code points, which is the order of UTF-8's bytes; a string's own is that of UTF-16.
  const compare = (one, other) => {
    const [a, b] = [[...one], [...other]];
    const at = a.findIndex((letter, index) => letter !== b[index]);
    if (at < 0) return a.length - b.length;
    return at < b.length ? a[at].codePointAt(0) - b[at].codePointAt(0) : 1;
  };
  const found = [...names].filter((name) => name.startsWith(prefix)).sort(compare);
  return found.filter((name) => after == null || compare(name, after) > 0).slice(0, 256);
}

const encoded = (value) => Uint8Array.from(bytes("value", value));

/** Values in memory: `values`. */
class Kv {
  values = new Map();
  get(key) {
    return this.values.get(key) ?? null;
  }
  exists(key) {
    return this.values.has(key);
  }
  set(key, value) {
    this.values.set(key, encoded(value));
  }
  remove(key) {
    this.values.delete(key);
  }
  swap(key, expected, value) {
    const said = (one) => (one == null ? null : `${encoded(one)}`);
    if (said(this.get(key)) !== said(expected)) return false;
    this.update(key, () => value);
    return true;
  }
  update(key, change) {
    const made = change(this.get(key)) ?? null;
    if (made === null) this.remove(key);
    else this.set(key, made);
    return made;
  }
  listKeys(prefix = "", after = null) {
    return page(this.values.keys(), prefix, after);
  }
}

/** Blobs in memory: `blobs`. */
class Blobs {
  blobs = new Map();
  size(name) {
    return this.blobs.get(name)?.length ?? null;
  }
  read(name, offset = 0, length = 8 << 20) {
    if (!this.blobs.has(name)) throw fault("invalid-input", `there is no blob named "${name}"`);
    return this.blobs.get(name).slice(offset, offset + Math.min(length, 8 << 20));
  }
  put(name, value) {
    this.blobs.set(name, encoded(value));
  }
  remove(name) {
    this.blobs.delete(name);
  }
  list(prefix = "", after = null) {
    return page(this.blobs.keys(), prefix, after);
  }
}

function black({ width, height, prompt, seed }) {
  const [picture, infotext] = [new Picture(width ?? 512, height ?? 512), `${prompt ?? ""}\nSeed: ${seed ?? -1}`];
  return { images: [picture], infotexts: [infotext], info: { prompt: prompt ?? "" } };
}

/** Answers with what it was given, and keeps what it was asked: `logged`, `drawings`. A network is a function of its
 * inputs, with what is said of it as its `about`. `draw` is asked what comes of a drawing, and may throw a `fault` as a server
 * does; without it, that is a black picture of the asked size. */
export class Host {
  #networks;
  #draw;
  #cancelled;
  constructor({ settings = {}, seed = 0, folders = {}, networks = {}, assets = {}, draw = black, cancelled = false } = {}) {
    Object.assign(this, { requestId: "test", settings, seed, folders, logged: [], drawings: [] });
    this.#networks = networks;
    this.#draw = draw;
    this.#cancelled = cancelled;
    Object.assign(this, { kv: new Kv(), blobs: new Blobs() });
    this.assets = {
      list: () => Object.keys(assets).sort(),
      read(name) {
        if (!(name in assets)) throw fault("invalid-input", `the plugin carries no file named "${name}"`);
        return encoded(assets[name]);
      },
    };
  }
  random() {
    return random(this.seed);
  }
  log(line, level = "info") {
    this.logged.push([word("level", level, WORDS.level), `${line}`]);
  }
  cancelled() {
    return this.#cancelled;
  }
  invalidInput(sentence) {
    return fault("invalid-input", sentence);
  }
  fault(tag, sentence) {
    return fault(word("tag", tag, WORDS.fault), sentence);
  }
  rejected(sentence) {
    return fault("rejected", sentence);
  }
  newPicture(width, height, format) {
    return new Picture(width, height, format);
  }
  listFiles(folder) {
    return Object.keys(this.#folder(folder)).sort();
  }
  readFile(folder, path) {
    const files = this.#folder(folder);
    if (!(path in files)) throw fault("invalid-input", `there is no file "${path}" in folder "${folder}"`);
    return files[path];
  }
  generate(params, initImages = [], mask = null) {
    // As it would cross to the host, so that what JSON cannot say is found here.
    const asked = JSON.parse(json("params", params));
    this.drawings.push(asked);
    let isCancelled = false;
    const finish = () => {
      if (isCancelled) throw fault("cancelled", "the drawing was cancelled");
      return this.#draw(asked, initImages, mask);
    };
    return { progress: () => 1, cancel: () => (isCancelled = true), finish };
  }
  upscale(picture, upscaler, factor) {
    return picture.resize(Math.trunc(picture.width * factor), Math.trunc(picture.height * factor));
  }
  interrogate(picture, model) {
    switch (model.toLowerCase()) {
      case "clip":
        return `a picture of ${picture.width} by ${picture.height} pixels`;
      case "deepbooru":
        return `${picture.width} wide, ${picture.height} high`;
    }
    throw fault("invalid-input", `model is "${model}"; it must be clip or deepbooru`);
  }
  networks() {
    const names = Object.keys(this.#networks).sort();
    if (names.length === 0) throw fault("not-permitted", "no network is granted (the grant `models`)");
    return names;
  }
  aboutNetwork(network) {
    return this.#network(network).about ?? null;
  }
  runNetwork(network, inputs) {
    return this.#network(network)(inputs);
  }
  #network(name) {
    if (!(name in this.#networks)) throw fault("not-permitted", `the network "${name}" is not granted`);
    return this.#networks[name];
  }
  #folder(name) {
    if (!(name in this.folders)) throw fault("not-permitted", `folder "${name}" is not granted`);
    return this.folders[name];
  }
}
