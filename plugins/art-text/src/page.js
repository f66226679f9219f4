// Shows the guide while the text is typed, and asks the server for a picture as any client does: with a ControlNet the
// plugin adds the guide to the request, without one the guide is the picture that is drawn over.
"use strict";

const form = document.getElementById("form");
const guide = document.getElementById("guide");
const picture = document.getElementById("picture");
const state = document.getElementById("state");
const field = (name) => form.elements[name];

function say(text, isWrong = false) {
  state.textContent = text;
  state.classList.toggle("wrong", isWrong);
}

// Without the grant the page is shown in a sandbox, whose scripts may ask nobody.
const isSandboxed = self.origin === "null";

function fail(error) {
  say(isSandboxed ? "this page may not ask the server until an admin grants art-text own_origin" : error.message, true);
}

function guideAddress() {
  const asked = new URLSearchParams({ invert: field("invert").checked ? "1" : "0" });
  for (const name of ["text", "font", "width", "height"]) asked.set(name, field(name).value);
  return `guide.png?${asked}`;
}

async function answered(response) {
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(body.error?.message ?? body.error ?? body.message ?? body.detail ?? `the server answered ${response.status}`);
}

async function base64(blob) {
  const address = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
  return address;
}

async function request() {
  const body = {
    prompt: field("prompt").value,
    steps: field("steps").valueAsNumber,
    seed: field("seed").valueAsNumber,
    width: field("width").valueAsNumber,
    height: field("height").valueAsNumber,
  };
  const strength = field("strength").valueAsNumber;
  if (field("model").value) {
    const args = {
      text: field("text").value,
      font: field("font").value,
      invert: field("invert").checked,
      model: field("model").value,
      weight: 2 * strength,
    };
    return ["/sdapi/v1/txt2img", { ...body, alwayson_scripts: { "art-text": { args } } }];
  }
  const drawn = await answered(await fetch(guideAddress()));
  const init = await base64(await drawn.blob());
  return ["/sdapi/v1/img2img", { ...body, init_images: [init], denoising_strength: 1 - strength }];
}

async function draw() {
  say("drawing …");
  const [route, body] = await request();
  const headers = { "content-type": "application/json" };
  const reply = await answered(await fetch(route, { method: "POST", headers, body: JSON.stringify(body) }));
  const { images, info } = await reply.json();
  picture.src = `data:image/png;base64,${images[0]}`;
  picture.hidden = false;
  say(`seed ${JSON.parse(info).seed}`);
}

function preview() {
  if (field("text").value.trim()) guide.src = guideAddress();
}

async function fill(select, address, names) {
  const list = names(await (await answered(await fetch(address))).json());
  for (const name of list) select.append(new Option(name, name));
}

let waiting = 0;
form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(preview, 200);
});
guide.addEventListener("error", async () => {
  const reason = await fetch(guide.src).then(answered).then(() => "", (error) => error.message);
  if (reason) say(reason, true);
});
guide.addEventListener("load", () => say(""));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  draw().catch(fail);
});

fill(field("font"), "fonts", (list) => list)
  .then(preview, fail);
// A server without ControlNets has an empty list, and drawing over the guide is left.
fill(field("model"), "/controlnet/model_list", (answer) => answer.model_list.filter((name) => name !== "None"))
  .catch(() => {});
