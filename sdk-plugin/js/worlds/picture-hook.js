// Joins plugin.js to the world picture-hook: `finish(params, about, picture, source, host)` answers `{ picture, fields }`, or nothing
// where the picture stays as it is.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import images from "gesso:plugin/images@0.1.0";
import inference from "gesso:plugin/inference@0.2.0";
import models from "gesso:plugin/models@0.2.0";
import * as plugin from "../plugin.js";
import { pairs } from "./checks.js";
import { Host, Picture, answered, consoleOn, imageOf } from "./host.js";

globalThis.console = consoleOn(call);

export function finish(params, about, picture, source) {
  return answered(call, () => {
    const host = new Host({ call, images, inference, models, kv, blobs, assets });
    const over = source ? new Picture(source) : null;
    const finished = plugin.finish(JSON.parse(params), about, new Picture(picture), over, host);
    if (finished == null) return { picture, fields: [] };
    return { picture: imageOf(finished.picture), fields: pairs(finished.fields) };
  });
}
