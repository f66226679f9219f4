// A host for unit tests: pictures in memory, drawings that end at once. `node --test` with it needs no server.

import { random } from "./random.js";
import { bytesOf, textOf } from "./utf8.js";

const CHANNELS = { gray8: 1, rgb8: 3, rgba8: 4 };

function fault(tag, sentence) {
  return Object.assign(new Error(sentence), { tag });
}

/** A picture, black where no `rows` are given. Resizing takes the nearest pixel; the real host has Lanczos. */
export class Picture {
  constructor(width, height, format = "rgb8", rows = null) {
    this.width = width;
    this.height = height;
    this.format = format;
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

  writeRows(first, rows) {
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
    if (first < 0 || count < 0 || first + count > this.height) {
      throw fault("invalid-input", `rows ${first} to ${first + count} are not in a picture of ${this.height}`);
    }
  }
}

function converted(pixel, to) {
  const [red, green, blue] = pixel.length > 1 ? pixel : [pixel[0], pixel[0], pixel[0]];
  // ITU-R BT.601, as the host has it.
  if (to === "gray8") return [(19595 * red + 38470 * green + 7471 * blue + 32768) >> 16];
  return [red, green, blue, pixel[3] ?? 255].slice(0, CHANNELS[to]);
}

/** A request to an HTTP API. @param {string | Uint8Array} body */
export function request(method, path, body = "", headers = {}) {
  const bytes = typeof body === "string" ? bytesOf(body) : body;
  const [place, query = ""] = path.split(/\?(.*)/s);
  return { method, path: place, query, headers, body: bytes, text: () => textOf(bytes) };
}

/** What a picture hook is told of a picture, with changes. */
export function drawnPicture(changes = {}) {
  const about = { place: 0, count: 1, prompt: "", negativePrompt: "", seed: 0n, subseed: 0n, infotext: "" };
  return { ...about, ...changes };
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

const encoded = (value) => (typeof value === "string" ? bytesOf(value) : Uint8Array.from(value));

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
    return this.blobs.get(name).slice(offset, offset + length);
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

/** Answers with what it was given, and keeps what it was asked: `logged`, `drawings`. A network is a function of its
 * inputs, with what is said of it as its `about`. */
export class Host {
  #networks;
  constructor({ settings = {}, seed = 0, folders = {}, networks = {}, assets = {} } = {}) {
    Object.assign(this, { requestId: "test", settings, seed, folders, logged: [], drawings: [] });
    this.#networks = networks;
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
  log(text, level = "info") {
    this.logged.push([level, text]);
  }
  cancelled() {
    return false;
  }
  invalidInput(sentence) {
    return fault("invalid-input", sentence);
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
    return this.#folder(folder)[path];
  }
  generate(params, initImages = [], mask = null) {
    // As it would cross to the host, so that what JSON cannot say is found here.
    const asked = JSON.parse(JSON.stringify(params));
    this.drawings.push(asked);
    const picture = new Picture(asked.width ?? 512, asked.height ?? 512);
    const infotext = `${asked.prompt ?? ""}\nSeed: ${asked.seed ?? -1}`;
    const drawn = { images: [picture], infotexts: [infotext], info: { prompt: asked.prompt ?? "" } };
    return { progress: () => 1, cancel() {}, finish: () => drawn };
  }
  upscale(picture, upscaler, factor) {
    return picture.resize(Math.trunc(picture.width * factor), Math.trunc(picture.height * factor));
  }
  networks() {
    return Object.keys(this.#networks).sort();
  }
  aboutNetwork(network) {
    return this.#network(network).about ?? null;
  }
  runNetwork(network, inputs) {
    return this.#network(network)(inputs);
  }
  #network(name) {
    if (!(name in this.#networks)) throw fault("invalid-input", `there is no network "${name}"`);
    return this.#networks[name];
  }
  #folder(name) {
    if (!(name in this.folders)) throw fault("not-permitted", `folder "${name}" is not granted`);
    return this.folders[name];
  }
}
