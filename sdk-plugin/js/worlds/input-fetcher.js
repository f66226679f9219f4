// Joins plugin.js to the world input-fetcher: `fetch(reference, host)` answers the file that the reference names, as bytes.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import * as plugin from "../plugin.js";
import { bytes } from "./checks.js";
import { Host, answered, consoleOn } from "./host.js";

globalThis.console = consoleOn(call);

export function fetch(reference) {
  return answered(call, () => bytes("file", plugin.fetch(reference, new Host({ call, kv, blobs, assets }))));
}
