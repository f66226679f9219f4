// Writes into each picture's infotext how bright it is.

/**
 * @param {import("gesso-plugin").Params} params
 * @param {import("gesso-plugin").DrawnPicture} about
 * @param {import("gesso-plugin").Picture} picture
 * @param {import("gesso-plugin").Picture | null} source
 * @param {import("gesso-plugin").Host} host
 * @returns {import("gesso-plugin").Finished}
 */
export function finish(params, about, picture, source, host) {
  const levels = picture.convert("gray8").readRows(0, picture.height);
  const sum = levels.reduce((sum, level) => sum + level, 0);
  const percent = Math.floor((sum * 100) / (levels.length * 255));
  return { picture, fields: { Brightness: `${percent} %` } };
}
