// Brings pictures of one colour: a request that says `colour:ff8800` in place of a picture gets an orange square, which nobody
// sends or keeps.

// Pixels along a side; a request brings the picture to the size that it needs.
const SIDE = 64;
const HEAD = 54;

/** @param {string} reference @param {import("gesso-plugin").Host} host @returns {Uint8Array} */
export function fetch(reference, host) {
  const digits = /^[^:]+:([0-9a-f]{6})$/i.exec(reference)?.[1];
  if (!digits) throw host.invalidInput(`${reference.slice(0, 100)} names no colour; colour:ff8800 is orange`);
  const [red, green, blue] = [0, 2, 4].map((at) => parseInt(digits.slice(at, at + 2), 16));
  return bitmap([blue, green, red]);
}

/** A BMP file, the simplest of those that a server reads. */
function bitmap(pixel) {
  const file = new Uint8Array(HEAD + SIDE * SIDE * 3);
  const view = new DataView(file.buffer);
  const words = (at, ...numbers) => numbers.forEach((number, place) => view.setUint32(at + 4 * place, number, true));
  file.set([0x42, 0x4d]);
  words(2, file.length, 0, HEAD, 40, SIDE, SIDE);
  // One plane of 24 bits, not compressed.
  file.set([1, 0, 24, 0], 26);
  words(34, file.length - HEAD);
  for (let at = HEAD; at < file.length; at += 3) file.set(pixel, at);
  return file;
}
