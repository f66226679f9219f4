// Joins plugin.js to the world request-hook: `before(params, host)` answers the parameters to go on with, or nothing where
// they stay; `after(params, pictures, host)` the pictures that take the place of the finished ones, or nothing.
import call from "gesso:plugin/call@0.1.0";
import images from "gesso:plugin/images@0.1.0";
import * as plugin from "../plugin.js";
import { json } from "./checks.js";
import { Fault, Host, Picture, answered, consoleOn, imageOf } from "./host.js";

globalThis.console = consoleOn(call);

export function before(params) {
  return answered(call, () => {
    try {
      const replaced = plugin.before?.(JSON.parse(params), new Host({ call, images, folders }));
      return replaced == null ? { tag: "unchanged" } : { tag: "replaced", val: json("params", replaced) };
    } catch (error) {
      if (error instanceof Fault && error.tag === "rejected") return { tag: "rejected", val: error.message };
      throw error;
    }
  });
}

export function after(params, outputs) {
  return answered(call, () => {
    const pictures = outputs.map((image) => new Picture(image));
    const made = plugin.after?.(JSON.parse(params), pictures, new Host({ call, images, folders }));
    return (made ?? pictures).map(imageOf);
  });
}
