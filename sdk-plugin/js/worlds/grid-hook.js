// Joins plugin.js to the world grid-hook: `onGrid(params, grid, host)` answers the grid that takes the place of the one it was
// given, or nothing where that stays.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import images from "gesso:plugin/images@0.1.0";
import * as plugin from "../plugin.js";
import { whole } from "./checks.js";
import { Host, Picture, answered, consoleOn, imageOf } from "./host.js";

globalThis.console = consoleOn(call);

export function onGrid(params, pictures, columns, rows) {
  return answered(call, () => {
    const given = { pictures: pictures.map((image) => new Picture(image)), columns, rows };
    const grid = plugin.onGrid(JSON.parse(params), given, new Host({ call, images, kv, blobs, assets })) ?? given;
    const size = { columns: whole("columns", grid.columns), rows: whole("rows", grid.rows) };
    return { pictures: grid.pictures.map(imageOf), ...size };
  });
}
