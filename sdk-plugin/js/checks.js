// What crosses to the host has the contract's types. One that is wrong ends the component without a word, so it is brought to its
// type or refused here, where a trace says whose it is.

import { bytesOf } from "./utf8.js";

/** The contract's words. */
export const WORDS = {
  fault: ["invalid-input", "not-permitted", "limit-exceeded", "cancelled", "deadline-exceeded", "unavailable", "other"],
  format: ["gray8", "rgb8", "rgba8"],
  level: ["debug", "info", "warn", "error"],
  unary: ["absolute", "square-root", "exponential", "logarithm", "tanh", "sign", "sine", "cosine", "arc-cosine", "floor"],
  binary: ["add", "subtract", "multiply", "divide", "minimum", "maximum", "power"],
  reduction: ["sum", "mean", "deviation", "minimum", "maximum", "norm", "quantile"],
  over: ["everything", "places", "channels"],
  axis: ["channels", "rows", "columns"],
};

/** QuickJS hands on numbers of 32 bits as signed ones. */
const U32_MAX = 2 ** 31 - 1;
export const U16_MAX = 2 ** 16 - 1;
export const U64_MAX = Number.MAX_SAFE_INTEGER;

export function word(what, value, words) {
  if (words.includes(value)) return value;
  throw new TypeError(`\`${what}\` must be one of ${words.join(", ")}, not ${named(value)}`);
}

export function whole(what, value, most = U32_MAX) {
  if (Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw new TypeError(`\`${what}\` must be a whole number from 0 to ${most}, not ${named(value)}`);
}

export function number(what, value) {
  if (typeof value === "number") return value;
  throw new TypeError(`\`${what}\` must be a number, not ${named(value)}`);
}

export function text(what, value) {
  if (typeof value === "string") return value;
  throw new TypeError(`\`${what}\` must be text, not ${named(value)}`);
}

/** Text becomes UTF-8. */
export function bytes(what, value) {
  if (typeof value === "string") return bytesOf(value);
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (value instanceof Uint8ClampedArray || (Array.isArray(value) && value.every(isByte))) return Uint8Array.from(value);
  throw new TypeError(`\`${what}\` must be bytes or text, not ${named(value)}`);
}

function isByte(value) {
  return Number.isInteger(value) && value >= 0 && value < 256;
}

export function json(what, value) {
  const said = JSON.stringify(value);
  if (said !== undefined) return said;
  throw new TypeError(`\`${what}\` must be what JSON can say, not ${named(value)}`);
}

/** The body of an answer, behind the type that it has where its headers say none. */
export function body(value) {
  if (typeof value === "string") return ["text/plain; charset=utf-8", bytesOf(value)];
  const isBytes = [Uint8Array, Uint8ClampedArray, ArrayBuffer].some((kind) => value instanceof kind);
  if (isBytes) return ["application/octet-stream", bytes("body", value)];
  return ["application/json", bytesOf(json("body", value ?? null))];
}

/** Names and values, as text. */
export function pairs(fields) {
  return Object.entries(fields ?? {}).map(([name, value]) => [name, `${value}`]);
}

function named(value) {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 80));
  if (typeof value === "object" && value !== null) return value.constructor?.name ?? "an object";
  return typeof value === "bigint" ? `the BigInt ${value}` : String(value).slice(0, 80);
}
