// Joins plugin.js to the world annotator: `annotate(module, source, mask, arguments, host)` answers the map.
import call from "gesso:plugin/call@0.1.0";
import images from "gesso:plugin/images@0.1.0";
import * as plugin from "../plugin.js";
import { Host, Picture, answered, consoleOn } from "./host.js";

globalThis.console = consoleOn(call);

export function annotate(module, source, mask, settings) {
  return answered(call, () => {
    const masked = mask && new Picture(mask);
    return plugin.annotate(module, new Picture(source), masked, JSON.parse(settings), new Host({ call, images })).image;
  });
}
