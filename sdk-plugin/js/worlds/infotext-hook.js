// Joins plugin.js to the world infotext-hook: `onInfotext(text, infotext, host)` answers the parts that take the place of those
// it was given, or nothing where they stay.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import * as plugin from "../plugin.js";
import { pairs } from "./checks.js";
import { Host, answered, consoleOn } from "./host.js";

globalThis.console = consoleOn(call);

export function onInfotext(text, parts) {
  return answered(call, () => {
    const given = { ...parts, fields: Object.fromEntries(parts.fields) };
    const read = plugin.onInfotext(text, given, new Host({ call, kv, blobs, assets }));
    if (read == null) return parts;
    const prompts = { prompt: `${read.prompt ?? ""}`, negativePrompt: `${read.negativePrompt ?? ""}` };
    return { ...prompts, fields: pairs(read.fields) };
  });
}
