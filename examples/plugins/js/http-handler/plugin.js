// Counts the words of the text that is posted to it, under `/ext/<id>/`.

/** @param {import("gesso-plugin").Request} request @returns {import("gesso-plugin").Response} */
export function handle(request) {
  if (request.method !== "POST") return { status: 405, body: { error: "Post a text." } };
  try {
    return { body: { words: words(request.text()) } };
  } catch {
    return { status: 400, body: { error: "The body is no text in UTF-8." } };
  }
}

export function words(text) {
  return text.split(/\s+/).filter(Boolean).length;
}
