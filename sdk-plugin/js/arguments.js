// What clients say to a plugin: the arguments of scripts and step hooks, and what a request holds for a hook. Both are read in
// every spelling of clients, and both name what is wrong in the sentence for them.

import { fromValue, numeral } from "./lax.js";

/** Arguments of a script or a step hook, in the order of the manifest: numbers and switches as themselves or as text, choices by
 * name or by place. What is wrong is thrown as the host's `invalidInput`, with the label of the argument. */
export class Arguments {
  #values;
  #host;

  /** @param {unknown[]} values @param {import("gesso-plugin").Host} host */
  constructor(values, host) {
    this.#values = values;
    this.#host = host;
  }

  /** A switch; nothing reads as false. @param {number} place @param {string} label @returns {boolean} */
  flag(place, label) {
    const value = this.#get(place);
    if (value === null) return false;
    if (typeof value === "boolean" || typeof value === "number") return Boolean(value);
    const said = typeof value === "string" ? value.toLowerCase() : null;
    if (["true", "on", "1", "yes"].includes(said)) return true;
    if (["false", "off", "0", "no", ""].includes(said)) return false;
    throw this.#wrong(label, value, "true or false");
  }

  /** A number between two others, both allowed. @param {number} place @param {string} label
   * @param {[number, number]} bounds @returns {number} */
  number(place, label, [least, most]) {
    const value = this.#get(place);
    const said = numeral(value);
    if (said === null || said < least || said > most) {
      throw this.#wrong(label, value, `a number between ${least} and ${most}`);
    }
    return said;
  }

  /** Anything that reads as text; nothing is empty. @param {number} place @returns {string} */
  text(place) {
    const value = this.#get(place);
    return value === null ? "" : textOf(value);
  }

  /** The texts of a list, or one text. @param {number} place @returns {string[]} */
  texts(place) {
    const value = this.#get(place);
    if (Array.isArray(value)) return value.map(textOf);
    return typeof value === "string" && value !== "" ? [value] : [];
  }

  /** The place among `choices` of one that is named, in any case, or counted from 0. @param {number} place
   * @param {string} label @param {string[]} choices @returns {number} */
  choice(place, label, choices) {
    const value = this.#get(place);
    const found =
      typeof value === "string" ? choices.findIndex((choice) => folded(choice) === folded(value.trim())) : value;
    if (Number.isInteger(found) && found >= 0 && found < choices.length) return found;
    throw this.#wrong(label, value, `one of ${choices.join(", ")}`);
  }

  #get(place) {
    return this.#values[place] ?? null;
  }

  #wrong(label, value, expected) {
    return this.#host.invalidInput(`${JSON.stringify(label)} is ${JSON.stringify(value)}; it must be ${expected}.`);
  }
}

/** What the request says to the plugin `name` under `alwayson_scripts.<name>.args`, by a table of `lax.js`; null where it says
 * nothing. Names are compared without regard to case, as clients of the web UI write titles, and with a version behind them or
 * without, as in `Dynamic Prompts v2.17.1`.
 *
 * The arguments are an object, or a list: of what the table names in its order, or of one object. What does not fit the table is
 * thrown as the host's `invalidInput`.
 * @template {import("gesso-plugin").Table} T
 * @param {import("gesso-plugin").Params} params
 * @param {string} name
 * @param {T} table
 * @param {import("gesso-plugin").Host} host
 * @returns {import("gesso-plugin").Fields<T> | null} */
export function argumentsOf(params, name, table, host) {
  const [key, script] = Object.entries(params.alwayson_scripts ?? {}).find(([key]) => isNamed(key, name)) ?? [];
  let given = script?.args ?? null;
  if (Array.isArray(given) && given.length === 1 && isObject(given[0])) [given] = given;
  if (given === null || (Array.isArray(given) && given.length === 0)) return null;
  return fromValue(given, table, host, (wrong) => `alwayson_scripts.${key}.args cannot be used: ${wrong}.`);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isNamed(key, name) {
  const [, bare = key] = key.match(/^(.*) v[0-9][0-9.]*$/s) ?? [];
  return [folded(key), folded(bare)].includes(folded(name));
}

/** In the letters of ASCII alone, as the server compares names. */
function folded(text) {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function textOf(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
