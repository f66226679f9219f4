// Makes a picture's map of few levels. Rows go through in bands, so that a large picture takes no large memory.

const BAND_ROWS = 256;

/**
 * @param {string} module
 * @param {import("gesso-plugin").Picture} source
 * @param {import("gesso-plugin").Picture | null} mask
 * @param {{ resolution?: number, threshold_a?: number, threshold_b?: number }} args
 */
export function annotate(module, source, mask, args) {
  const table = levels(args.threshold_a ?? 4);
  for (let first = 0; first < source.height; first += BAND_ROWS) {
    const rows = source.readRows(first, Math.min(BAND_ROWS, source.height - first));
    source.writeRows(first, rows.map((level) => table[level]));
  }
  return source;
}

/** For each level the nearest of `count` levels from black to white. */
export function levels(count) {
  const steps = Math.max(Math.trunc(count), 2) - 1;
  return Uint8Array.from({ length: 256 }, (_, level) => Math.trunc((Math.trunc((level * steps + 127) / 255) * 255) / steps));
}
