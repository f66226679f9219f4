import assert from "node:assert/strict";
import { test } from "node:test";
import { Host, Picture, drawnPicture } from "./.kit/fake.js";
import { finish } from "./plugin.js";

test("half white is half bright", () => {
  const picture = new Picture(2, 1, "gray8", [0, 255]);
  const finished = finish({}, drawnPicture(), picture, null, new Host());
  assert.deepEqual(finished.fields, { Brightness: "50 %" });
  assert.equal(finished.picture, picture);
});
