// Joins plugin.js to the world annotator: `annotate(module, source, mask, arguments, host)` answers the map, or
// `{ picture, data }` where it found something beside.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import images from "gesso:plugin/images@0.1.0";
import models from "gesso:plugin/models@0.2.0";
import * as plugin from "../plugin.js";
import { json } from "./checks.js";
import { Host, Picture, answered, consoleOn, imageOf } from "./host.js";

globalThis.console = consoleOn(call);

export function annotate(module, source, mask, args) {
  return answered(call, () => {
    const masked = mask && new Picture(mask);
    const host = new Host({ call, images, models, kv, blobs, assets });
    const made = plugin.annotate(module, new Picture(source), masked, JSON.parse(args), host);
    const { picture, data = null } = made instanceof Picture ? { picture: made } : made;
    return { picture: imageOf(picture), data: data === null ? null : json("data", data) };
  });
}
