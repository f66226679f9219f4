/** The words between a plugin in JavaScript and its host. A plugin is a module `plugin.js` with functions; the last
 * argument of each is the `Host`, so that a test can pass the one of `.kit/fake.js` instead. Every number is a number, also
 * those of 64 bits (seeds, lengths), which are exact up to 2^53; a BigInt is none. */
declare module "gesso-plugin" {
  /** The request body in the web UI's field names. */
  export type Params = { prompt?: string; seed?: number; width?: number; height?: number; [field: string]: unknown };
  export type Format = "gray8" | "rgb8" | "rgba8";
  export type Level = "debug" | "info" | "warn" | "error";

  /** A picture that the host holds: 8 bits a channel, interleaved, top row first. Rows are copied where they are read and
   * written. */
  export interface Picture {
    readonly width: number;
    readonly height: number;
    readonly format: Format;
    readRows(first: number, count: number): Uint8Array;
    writeRows(first: number, rows: Uint8Array): void;
    /** A new picture of that size, by Lanczos. */
    resize(width: number, height: number): Picture;
    /** A new picture in that format. */
    convert(to: Format): Picture;
  }

  /** What came of a drawing: the pictures, an infotext for each, and the web UI's `info`. */
  export interface Drawn {
    images: Picture[];
    infotexts: string[];
    info: Record<string, unknown>;
  }

  /** A drawing under way. Several may be under way at a time; they share the device's steps. */
  export interface Job {
    /** The share that is done, 0 to 1. */
    progress(): number;
    cancel(): void;
    /** Waits for it. */
    finish(): Drawn;
  }

  /** What an annotator made, where it is more than the map: what it found beside. A host takes of that what it knows: under
   * `pose` the people of the picture as OpenPose writes them (`people`, `canvas_width`, `canvas_height`, and `animals` where there
   * are any), which clients that ask for the map alone are told. */
  export interface Annotated {
    picture: Picture;
    data?: Record<string, unknown> | null;
  }

  /** A picture that a script made. Grids and the like stand before what was drawn. */
  export interface Made {
    picture: Picture;
    infotext?: string;
    grid?: boolean;
  }

  /** Numbers in row-major order; a picture goes into a network as `[1, channels, height, width]`. */
  export interface Tensor {
    shape: Uint32Array | number[];
    values: Float32Array | number[];
  }

  export type Unary =
    | "absolute"
    | "square-root"
    | "exponential"
    | "logarithm"
    | "tanh"
    | "sign"
    | "sine"
    | "cosine"
    | "arc-cosine"
    | "floor";
  export type Binary = "add" | "subtract" | "multiply" | "divide" | "minimum" | "maximum" | "power";
  export type Reduction = "sum" | "mean" | "deviation" | "minimum" | "maximum" | "norm" | "quantile";
  export type Over = "everything" | "places" | "channels";
  export type Axis = "channels" | "rows" | "columns";

  /** Channels, rows and columns of 32-bit numbers on the server's device, within a sampler's step. Nothing is copied but what
   * is read or written. A call may make about 60, which go when it ends. */
  export interface StepTensor {
    /** How many channels, rows and columns. */
    shape(): [number, number, number];
    duplicate(): StepTensor;
    /** Each element becomes the function of itself. */
    apply(op: Unary): void;
    /** Each element becomes the function of itself and of the other's. The other has the same size, or 1 along some axes,
     * where it meets every element. */
    combine(op: Binary, other: StepTensor): void;
    combineNumber(op: Binary, number: number): void;
    /** A new tensor, with 1 along the axes that it went over: all, rows and columns (`places`), or channels. A deviation is a
     * sample's, with n - 1 below; a quantile is the value that `share`, 0 to 1, is below. */
    reduce(op: Reduction, over?: Over, share?: number | null): StepTensor;
    /** A new tensor of a part. */
    slice(along: Axis, first: number, count: number): StepTensor;
    /** Overwrites a part by the other. */
    paste(along: Axis, first: number, other: StepTensor): void;
    /** Overwrites all elements by standard normal numbers: those that PyTorch draws on a processor under this seed, a whole
     * number. */
    draw(seed: number): void;
    /** The elements, channel by channel and row by row. Everything waits for the device meanwhile, so it takes the grant
     * `read_tensors`. */
    read(): Float32Array;
    /** Overwrites all elements. */
    write(values: Float32Array | number[]): void;
  }

  /** One moment of a drawing: before the network (`latent`), behind it (`predicted`), or behind guidance (`guided`). */
  export interface Moment {
    point: "latent" | "predicted" | "guided";
    step: number;
    steps: number;
    /** The call of the network within the step, from 0: samplers of second order make two in most steps. */
    call: number;
    /** The noise level: the latent is `scale` times the sum of what is drawn and `sigma` times noise of deviation 1. */
    sigma: number;
    /** 1 for samplers that go by noise levels, less for those that go by timesteps. */
    scale: number;
    /** What the network is told of the noise level, from 0 for none to 999, with fractions. */
    timestep: number;
    /** The factor by which guidance goes from the negative prompt's estimate towards the positive one's; 1 where a call leaves the
     * negative prompt out. */
    guidance: number;
    picture: number;
    /** The picture's own, the same whether it is drawn alone or beside others. */
    seed: number;
    isSecond: boolean;
  }

  /** The latent under way, what the finished one is by the prompt (all parts that `AND` joins together) and by the negative
   * prompt, and what guidance made of both; null where it has not come about yet. Where a call leaves the negative prompt out, the
   * first part of the prompt stands in for it. Changes count of what the point lets change. */
  export interface StepTensors {
    latent: StepTensor;
    positive?: StepTensor | null;
    negative?: StepTensor | null;
    guided?: StepTensor | null;
  }

  /** Which picture it is, and how it was drawn. */
  export interface DrawnPicture {
    place: number;
    count: number;
    /** How far it has come: as the network left it (where only the masked part is drawn, that part), or as the client gets it.
     * The manifest's `stages` says at which the plugin is called. */
    stage: "decoded" | "composited";
    prompt: string;
    negativePrompt: string;
    seed: number;
    subseed: number;
    infotext: string;
  }

  /** A picture as a picture hook leaves it, and what its infotext says beside. */
  export interface Finished {
    picture: Picture;
    fields?: Record<string, string>;
  }

  /** Pictures row by row: at least one, and at most as many as there are cells. Every cell is as wide and as high as the widest
   * and the highest of them; a smaller one is centred. */
  export interface Grid {
    pictures: Picture[];
    columns: number;
    rows: number;
  }

  /** A picture's text in parts, fields in their order. */
  export interface Infotext {
    prompt: string;
    negativePrompt: string;
    fields: Record<string, string>;
  }

  /** A picture that was saved for people. */
  export interface SavedPicture {
    /** Below the server's folder of outputs, with `/` between folders; the first is named by who asked. */
    path: string;
    /** How the file's name ends: `png`. */
    format: string;
    /** The file's length. */
    bytes: number;
    /** What stands in it; empty where nothing does. */
    infotext: string;
    /** Whether it is the grid of the others. */
    isGrid: boolean;
  }

  /** A checkpoint that came into memory. */
  export interface LoadedModel {
    /** The file's name without folder and extension. */
    name: string;
    /** Of the whole file, in hex digits. */
    sha256: string;
    kind: "drawing" | "inpainting" | "editing";
  }

  /** A request to an HTTP API. Header names are in lower case; the prefix `/ext/<id>` is cut off the path. */
  export interface Request {
    method: string;
    path: string;
    query: string;
    headers: Record<string, string>;
    body: Uint8Array;
    /** The body as text; throws where it is no UTF-8. */
    text(): string;
  }

  /** An answer. A body of text goes out as text, bytes as bytes, anything else as JSON. */
  export interface Response {
    status?: number;
    headers?: Record<string, string>;
    body?: unknown;
  }

  /** The contract's words for why a call cannot be done. */
  export type FaultTag =
    | "invalid-input"
    | "not-permitted"
    | "limit-exceeded"
    | "cancelled"
    | "deadline-exceeded"
    | "unavailable"
    | "other";

  /** Why a call cannot be done: what the host throws, with the contract's word for it; `rejected` is `before`'s alone. */
  export interface Fault extends Error {
    tag: FaultTag | "rejected";
  }

  /** Small values of the plugin's own; the manifest's `wants` says how many bytes they take (`kv_bytes`). Text is kept as
   * UTF-8. Not in request hooks and step hooks, as `Blobs`. */
  export interface Kv {
    get(key: string): Uint8Array | null;
    exists(key: string): boolean;
    set(key: string, value: Uint8Array | string): void;
    /** A value that is not there is no fault. */
    remove(key: string): void;
    /** Puts `value` in the place of `expected` in one step, and says whether it did; null is no value. */
    swap(key: string, expected: Uint8Array | string | null, value: Uint8Array | string | null): boolean;
    /** Puts what `change` makes of the value in its place; where another call was quicker, it is asked again. */
    update(key: string, change: (old: Uint8Array | null) => Uint8Array | string | null): Uint8Array | string | null;
    /** The first 256 behind `after`, in the order of their bytes; none is the end. */
    listKeys(prefix?: string, after?: string | null): string[];
  }

  /** Larger values of the plugin's own (`blob_bytes`). */
  export interface Blobs {
    size(name: string): number | null;
    /** At most 8 MiB from `offset` on. */
    read(name: string, offset?: number, length?: number): Uint8Array;
    put(name: string, value: Uint8Array | string): void;
    /** A blob that is not there is no fault. */
    remove(name: string): void;
    /** As `Kv.listKeys`. */
    list(prefix?: string, after?: string | null): string[];
  }

  /** The files of the folder `assets` beside the plugin, which the component carries. Not in request hooks. */
  export interface Assets {
    list(): string[];
    read(name: string): Uint8Array;
  }

  /** How one value of a request is read, and what stands for one that is left out (undefined: it must be there). The functions
   * of `.kit/lax.js` make them. */
  export interface Kind<T> {
    read(value: unknown): T;
    missing?: T;
  }

  /** Values by their names, in the order that a list has them. */
  export type Table = Record<string, Kind<any>>;

  /** What is read by a table. */
  export type Fields<T extends Table> = { [name in keyof T]: T[name] extends Kind<infer V> ? V : never };

  /** What a plugin can ask for while it is called. */
  export interface Host {
    readonly kv: Kv;
    readonly blobs: Blobs;
    readonly assets: Assets;
    /** The same in every call of one request. */
    readonly requestId: string;
    /** Belongs to the request: the same request has the same. */
    readonly seed: number;
    /** As the admin left them. */
    readonly settings: Record<string, any>;
    /** Numbers from 0 up to 1 from the request's seed, so that the same request gives the same picture. */
    random(): () => number;
    log(text: string, level?: Level): void;
    /** Whether anyone still waits; a long call should look now and then. */
    cancelled(): boolean;
    /** To be thrown: an argument is wrong; the client's request ends with the sentence. */
    invalidInput(sentence: string): Fault;
    /** To be thrown: why the call cannot be done, in the contract's words (`limit-exceeded`: a budget is spent). */
    fault(tag: FaultTag, sentence?: string): Fault;
    /** To be thrown by `before`: the request ends here, and the client reads the sentence. */
    rejected(sentence: string): Fault;
    newPicture(width: number, height: number, format?: Format): Picture;
    /** Paths in a granted folder; the manifest's `wants` names it. */
    listFiles(folder: string): string[];
    readFile(folder: string, path: string): Uint8Array;
    /** Begins a drawing; for scripts and picture hooks. */
    generate(params: Params, initImages?: Picture[], mask?: Picture | null): Job;
    /** For scripts and picture hooks. */
    upscale(picture: Picture, upscaler: string, factor: number): Picture;
    /** A caption by `clip`, tags by `deepbooru`; for scripts and picture hooks. */
    interrogate(picture: Picture, model: string): string;
    /** The granted networks that are there; for annotators, scripts, picture hooks and HTTP APIs, as the next two. */
    networks(): string[];
    /** What its exporter wrote into a network's file, or null. */
    aboutNetwork(network: string): unknown;
    runNetwork(network: string, inputs: Tensor[]): Tensor[];
  }
}
