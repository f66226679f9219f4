// Joins plugin.js to the world save-hook: `onSaved(params, picture, host)` hears of each picture that was saved.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import * as plugin from "../plugin.js";
import { Host, answered, consoleOn } from "./host.js";

globalThis.console = consoleOn(call);

export function onSaved(params, picture) {
  return answered(call, () => {
    plugin.onSaved(JSON.parse(params), picture, new Host({ call, kv, blobs, assets }));
  });
}
