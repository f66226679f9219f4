// Writes a line into its log for each picture that is saved.

/** @param {import("gesso-plugin").Params} params @param {import("gesso-plugin").SavedPicture} picture */
export function onSaved(params, picture) {
  console.log(line(picture));
}

export function line({ path, format, bytes, isGrid }) {
  return `saved the ${isGrid ? "grid" : "picture"} ${path}, ${bytes} bytes of ${format}`;
}
