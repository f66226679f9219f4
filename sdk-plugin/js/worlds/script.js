// Joins plugin.js to the world script: `run(title, params, arguments, initImages, mask, host)` answers
// `[{ picture, infotext }]`; grids stand first, each with `grid: true`.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import images from "gesso:plugin/images@0.1.0";
import inference from "gesso:plugin/inference@0.2.0";
import models from "gesso:plugin/models@0.2.0";
import * as plugin from "../plugin.js";
import { Host, Picture, answered, consoleOn, imageOf } from "./host.js";

globalThis.console = consoleOn(call);

export function run(title, params, args, initImages, mask) {
  return answered(call, () => {
    const sources = initImages.map((image) => new Picture(image));
    const host = new Host({ call, images, inference, models, kv, blobs, assets });
    const made = plugin.run(title, JSON.parse(params), JSON.parse(args), sources, mask && new Picture(mask), host);
    return {
      images: made.map(({ picture }) => imageOf(picture)),
      infotexts: made.map(({ infotext }) => `${infotext ?? ""}`),
      indexOfFirstImage: made.filter(({ grid }) => grid).length,
    };
  });
}
