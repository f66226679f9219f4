// Lays the pictures of a grid in one row.

/**
 * @param {import("gesso-plugin").Params} params
 * @param {import("gesso-plugin").Grid} grid
 * @returns {import("gesso-plugin").Grid}
 */
export function onGrid(params, { pictures }) {
  return { pictures, columns: pictures.length, rows: 1 };
}
