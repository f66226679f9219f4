// Joins plugin.js to the world http-handler: `handle(request, host)` answers `{ status, headers, body }`, where a body is
// text, bytes, or anything else, which goes out as JSON.
import assets from "gesso:plugin/assets@0.2.0";
import call from "gesso:plugin/call@0.1.0";
import images from "gesso:plugin/images@0.1.0";
import models from "gesso:plugin/models@0.2.0";
import * as plugin from "../plugin.js";
import { U16_MAX, body, pairs, whole } from "./checks.js";
import { Host, answered, consoleOn } from "./host.js";
import { textOf } from "./utf8.js";

globalThis.console = consoleOn(call);

export function handle({ method, path, headers, body: sent }) {
  return answered(call, () => {
    const [place, query = ""] = path.split(/\?(.*)/s);
    const asked = { method, path: place, query, headers: Object.fromEntries(headers), body: sent, text: () => textOf(sent) };
    const answer = plugin.handle(asked, new Host({ call, images, models, kv, blobs, assets }));
    const [type, bytes] = body(answer.body);
    const own = pairs(answer.headers).map(([name, value]) => [name.toLowerCase(), value]);
    const fields = Object.entries({ "content-type": type, ...Object.fromEntries(own) });
    return { status: whole("status", answer.status ?? 200, U16_MAX), headers: fields, body: bytes };
  });
}
