// Values as web UIs take them from clients: a number may be written as text, a whole number with a point, a switch as 0 or 1 or
// as text. Knows no request.
//
// A table names what is read, in the order that a list has it:
//
//     const OPTIONS = { enabled: lax.flag(true), depth: lax.whole(4, 1, 16), model: lax.text() };
//
// What has no default must be there; null is a default, too.

/** @template T @typedef {import("gesso-plugin").Kind<T>} Kind */
/** @typedef {import("gesso-plugin").Table} Table */

const NUMERAL = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/;

/** What a value is not; `fromValue` makes it the client's fault. */
class Unfit extends Error {}

/** A switch: true or false, 0 or 1, or such a word. @template [D=never] @param {D} [missing] @returns {Kind<boolean | D>} */
export function flag(missing) {
  return { read: switched, missing };
}

/** A whole number; the bounds are allowed. @template [D=never] @param {D} [missing] @param {number | null} [least]
 * @param {number | null} [most] @returns {Kind<number | D>} */
export function whole(missing, least = null, most = null) {
  return { read: bounded(integer, "a whole number", least, most), missing };
}

/** Any number; the bounds are allowed. @template [D=never] @param {D} [missing] @param {number | null} [least]
 * @param {number | null} [most] @returns {Kind<number | D>} */
export function number(missing, least = null, most = null) {
  return { read: bounded(numeral, "a number", least, most), missing };
}

/** @template [D=never] @param {D} [missing] @returns {Kind<string | D>} */
export function text(missing) {
  return { read: (value) => (typeof value === "string" ? value : refuse(value, "a text")), missing };
}

/** One of these texts, as they are written. @template [D=never] @param {string[]} choices @param {D} [missing]
 * @returns {Kind<string | D>} */
export function oneOf(choices, missing) {
  const names = choices.map((choice) => `\`${choice}\``);
  const expected = names.length < 3 ? names.join(" or ") : `one of ${names.join(", ")}`;
  function read(value) {
    if (typeof value !== "string") refuse(value, expected);
    if (!choices.includes(value)) throw new Unfit(`unknown variant \`${value}\`, expected ${expected}`);
    return value;
  }
  return { read, missing };
}

/** @template T @template [D=never] @param {Kind<T>} kind @param {D} [missing] @returns {Kind<T[] | D>} */
export function listOf(kind, missing) {
  return { read: (value) => (Array.isArray(value) ? value.map(kind.read) : refuse(value, "a list")), missing };
}

/** As the client sent it. @param {any} [missing] @returns {Kind<any>} */
export function anything(missing = null) {
  return { read: (value) => value, missing };
}

/** An object or a list by a table. What is null counts as left out; what the table does not name, and what stands behind its
 * last in a list, is nobody's. What is thrown begins with `says`, then the name of what is wrong, or its place where it is in a
 * list.
 * @template {Table} T
 * @param {unknown} value
 * @param {T} table
 * @param {import("gesso-plugin").Host} host
 * @param {(wrong: string) => string} says
 * @returns {import("gesso-plugin").Fields<T>} */
export function fromValue(value, table, host, says = (wrong) => wrong) {
  try {
    return fields(value, table);
  } catch (wrong) {
    throw wrong instanceof Unfit ? host.invalidInput(says(wrong.message)) : wrong;
  }
}

function fields(value, table) {
  if (typeof value !== "object" || value === null) refuse(value, "a list or an object");
  const named = new Map(Object.entries(value));
  const read = Object.entries(table).map(([name, kind], at) => {
    const [where, given] = Array.isArray(value) ? [`number ${at + 1} of the list`, value[at]] : [name, named.get(name)];
    return [name, field(name, kind, where, given)];
  });
  return Object.fromEntries(read);
}

function field(name, { read, missing }, where, value) {
  if (value === null || value === undefined) {
    if (missing === undefined) throw new Unfit(`missing field \`${name}\``);
    // A plugin may add to a list that it was given; the next call has the default again.
    return Array.isArray(missing) ? [...missing] : missing;
  }
  try {
    return read(value);
  } catch (wrong) {
    throw wrong instanceof Unfit ? new Unfit(`${where}: ${wrong.message}`) : wrong;
  }
}

/** The number that a value is or, where it is text, says; null where there is none. @param {unknown} value */
export function numeral(value) {
  const said = typeof value === "string" && NUMERAL.test(value.trim()) ? Number(value) : value;
  return Number.isFinite(said) ? said : null;
}

function switched(value) {
  if (typeof value === "boolean") return value;
  const said = typeof value === "string" ? value.trim().toLowerCase() : value;
  if ([1, "true", "on", "yes", "1"].includes(said)) return true;
  if ([0, "false", "off", "no", "0"].includes(said)) return false;
  return refuse(value, "a boolean");
}

function integer(value) {
  // What 64 bits hold; a number that JSON says exactly may be rounded up to the bound.
  if (Number.isInteger(value) && value >= -(2 ** 63) && value <= 2 ** 64) return value;
  const said = numeral(value);
  return Number.isSafeInteger(said) ? said : null;
}

function bounded(reader, what, least, most) {
  let expected = what;
  if (least !== null && most !== null) expected = `${what} between ${least} and ${most}`;
  else if (least !== null) expected = `${what} of at least ${least}`;
  else if (most !== null) expected = `${what} of at most ${most}`;
  return (value) => {
    const said = reader(value);
    if (said === null) refuse(value, expected);
    if ((least !== null && said < least) || (most !== null && said > most)) {
      throw new Unfit(`invalid value: ${named(said)}, expected ${expected}`);
    }
    return said;
  };
}

function refuse(value, expected) {
  throw new Unfit(`invalid type: ${named(value)}, expected ${expected}`);
}

function named(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "sequence";
  switch (typeof value) {
    case "boolean":
      return `boolean \`${value}\``;
    case "number":
      return `${Number.isInteger(value) ? "integer" : "floating point"} \`${value}\``;
    case "string":
      return `string ${JSON.stringify(value)}`;
  }
  return "map";
}
