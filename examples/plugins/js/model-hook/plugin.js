// Writes a line into its log for each checkpoint that comes into memory.

/** @param {import("gesso-plugin").LoadedModel} model */
export function onLoaded(model) {
  console.log(line(model));
}

export function line({ name, sha256, kind }) {
  // As web UIs show the hash.
  return `loaded ${name} [${sha256.slice(0, 10)}], for ${kind}`;
}
