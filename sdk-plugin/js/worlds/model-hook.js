// Joins plugin.js to the world model-hook: `onLoaded(model, host)` hears of each checkpoint that came into memory.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import * as plugin from "../plugin.js";
import { Host, answered, consoleOn } from "./host.js";

globalThis.console = consoleOn(call);

export function onLoaded(model) {
  return answered(call, () => {
    plugin.onLoaded(model, new Host({ call, kv, blobs, assets }));
  });
}
