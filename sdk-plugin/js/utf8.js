// QuickJS has no TextEncoder and TextDecoder.

/** @param {string} text */
export function bytesOf(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (letter) => letter.charCodeAt(0));
}

/** The text of bytes in UTF-8; throws a URIError where they are none. @param {Uint8Array} bytes */
export function textOf(bytes) {
  const letters = [];
  for (let at = 0; at < bytes.length; at += 4096) letters.push(String.fromCharCode(...bytes.subarray(at, at + 4096)));
  return decodeURIComponent(escape(letters.join("")));
}
