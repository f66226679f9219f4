// Puts the template that a prompt was made of back in its place: plugins that fill templates leave them in the infotext.

/** @param {string} text @param {import("gesso-plugin").Infotext} infotext @returns {import("gesso-plugin").Infotext} */
export function onInfotext(text, infotext) {
  const { Template: prompt = infotext.prompt, "Negative Template": negativePrompt = infotext.negativePrompt, ...fields } = infotext.fields;
  return { prompt, negativePrompt, fields };
}
