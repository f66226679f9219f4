"""Draws pictures with PyPI's `webuiapi`, as its users would, against a running server.

Usage: python3 webuiapi_test.py http://127.0.0.1:PORT DATA/admin-key MODELS
MODELS is the server's models folder, which a control network is put into.
Ends with status 1 and the failed check's sentence when the server answers what such a client cannot use.
"""

import asyncio
import functools
import inspect
import json
import math
import struct
import sys
from array import array
from pathlib import Path
from urllib.parse import urlsplit

import requests
import webuiapi
from PIL import Image

MODEL = "demo-v3"

# Where nothing answers: routes of extensions that have no counterpart here or want an admin's grant, and routes that web UIs
# themselves have dropped.
NOT_HERE = (
    "/sdapi/v1/artist",
    "/controlnet/txt2img",
    "/controlnet/img2img",
    "/instruct-pix2pix/",
    "/model_keyword/",
    "/promptgen/",
    "/rembg",
    "/sam/",
)


def check(condition, sentence):
    if not condition:
        sys.exit(f"FAILED: {sentence}")
    print(f"ok: {sentence}")


def lists(api):
    samplers = api.util_get_sampler_names()
    for sampler in ("Euler", "Euler a", "DPM++ 2M", "DDIM", "Heun"):
        check(sampler in samplers, f"the sampler {sampler} is listed")
    check("karras" in api.util_get_scheduler_names(), "the schedule karras is listed")
    models = api.util_get_model_names()
    check(any(MODEL in title for title in models), f"the model {MODEL} is listed")
    check(MODEL in api.util_get_current_model(), f"{MODEL} is the current model")
    scripts = api.get_scripts()
    check({"txt2img", "img2img"} <= scripts.keys(), "scripts are listed for both tabs")
    check("controlnet" in scripts["txt2img"], "ControlNet is among the scripts")


def picture(api):
    # No negative zero, no default left to chance: what is asked for is what must come back.
    result = api.txt2img(
        prompt="mountain landscape during sunset",
        negative_prompt="",
        seed=1003,
        width=128,
        height=128,
        steps=8,
        cfg_scale=5,
        sampler_name="DPM++ 2M",
        scheduler="karras",
    )
    check(len(result.images) == 1, "one picture comes back")
    check(result.image.size == (128, 128), f"the picture has 128x128 pixels, {result.image.size} here")
    colours = result.image.convert("RGB").getcolors(128 * 128)
    check(len(colours) > 500, f"the picture is no plain field, {len(colours)} colours here")

    check(isinstance(result.info, dict), "info is a JSON string that parses to an object")
    check(result.info["seed"] == 1003, "info has the seed")
    check(result.info["all_seeds"] == [1003], "info has the list of seeds")
    infotext = result.info["infotexts"][0]
    for part in ("mountain landscape during sunset", "Steps: 8", "Sampler: DPM++ 2M", "Seed: 1003", "Size: 128x128"):
        check(part in infotext, f"the infotext has {part!r}")
    check(result.image.info.get("parameters") == infotext, "the PNG carries the same infotext")
    check(result.parameters["steps"] == 8, "parameters echo the steps")
    check(result.parameters["prompt"] == "mountain landscape during sunset", "parameters echo the prompt")
    return result


def same_seed(api, first):
    again = api.txt2img(
        prompt="mountain landscape during sunset",
        seed=1003,
        width=128,
        height=128,
        steps=8,
        cfg_scale=5,
        sampler_name="DPM++ 2M",
        scheduler="karras",
    )
    check(again.image.tobytes() == first.image.tobytes(), "the same seed gives the same picture")


def batch(api):
    result = api.txt2img(prompt="red circle", seed=5, width=128, height=128, steps=4, batch_size=2)
    check(len(result.images) >= 2, "a batch of two gives two pictures")
    check(result.info["all_seeds"] == [5, 6], "its seeds count up")


def everything_else(api, first):
    """Every other method of the client that has a meaning here, as its users call it."""
    options = api.get_options()
    check(MODEL in options["sd_model_checkpoint"], "the options name the checkpoint")
    check(api.set_options(options) is None, "the whole dictionary may be posted back")
    check(api.set_options({"CLIP_stop_at_last_layers": 2}) is None, "an option can be changed")
    check(api.get_options()["CLIP_stop_at_last_layers"] == 2, "and stays changed")
    api.set_options({"CLIP_stop_at_last_layers": 1})
    api.util_set_model(MODEL)
    check(MODEL in api.util_get_current_model(), "the checkpoint can be set by a part of its name")
    lists = {
        "upscalers": api.get_upscalers(),
        "latent upscale modes": api.get_latent_upscale_modes(),
        "schedulers": api.get_schedulers(),
        "samplers": api.get_samplers(),
        "VAEs": api.get_sd_vae(),
        "LoRAs": api.get_loras(),
        "models": api.get_sd_models(),
        "hypernetworks": api.get_hypernetworks(),
        "face restorers": api.get_face_restorers(),
        "Real-ESRGAN models": api.get_realesrgan_models(),
        "styles": api.get_prompt_styles(),
        "ControlNet's models": api.controlnet_model_list(),
        "ControlNet's modules": api.controlnet_module_list(),
    }
    for name, found in lists.items():
        check(isinstance(found, list), f"{name} are a list, of {len(found)}")
    check(api.get_embeddings().keys() >= {"loaded", "skipped"}, "embeddings are loaded or skipped")
    check(api.get_memory()["ram"]["total"] > 0, "the memory is told")
    check(api.get_cmd_flags()["api"] is True, "the flags are told")
    check(api.controlnet_version() == 3, "ControlNet's API has its version")
    check(api.refresh_checkpoints() is None, "checkpoints can be refreshed")
    check(api.skip() is None and api.interrupt() == {}, "skip and interrupt are answered when nothing runs")

    again = api.img2img(images=[first.image], prompt="mountain", seed=1, width=128, height=128, steps=4, denoising_strength=0.5)
    check(again.image.size == (128, 128) and again.image != first.image, "a picture is drawn over")
    hires = api.txt2img(
        prompt="mountain",
        seed=2,
        width=64,
        height=64,
        steps=2,
        enable_hr=True,
        hr_scale=2,
        hr_upscaler=webuiapi.HiResUpscaler.Latent,
        denoising_strength=0.6,
    )
    check(hires.image.size == (128, 128), "a second pass makes a picture larger")
    mask = Image.new("L", (128, 128))
    mask.paste(255, (0, 0, 48, 128))
    part = api.img2img(
        images=[first.image],
        mask_image=mask,
        inpainting_fill=1,
        inpaint_full_res=False,
        prompt="sea",
        seed=1,
        width=128,
        height=128,
        steps=4,
        denoising_strength=0.9,
    )
    far = (120, 64)
    check(part.image.getpixel(far) == first.image.getpixel(far), "what is not masked stays as it was")
    check(part.image.crop((0, 0, 32, 128)) != first.image.crop((0, 0, 32, 128)), "and what is masked does not")
    odd = api.txt2img(prompt="mountain", seed=2, width=100, height=77, steps=1)
    check(odd.image.size == (96, 72), "sides lose what is beyond a multiple of eight")
    large = api.extra_single_image(image=first.image, upscaler_1="Lanczos", upscaling_resize=2)
    check(large.image.size == (256, 256), "a picture is enlarged")
    both = api.extra_batch_images(images=[first.image, again.image], upscaler_1="Lanczos", upscaling_resize=2)
    check([picture.size for picture in both.images] == [(256, 256)] * 2, "pictures are enlarged together")
    check("Seed: 1003" in api.png_info(first.image).info, "a picture tells how it was drawn")
    check(webuiapi.TaggerInterface(api).tagger_interrogators() == {"models": []}, "there is no tagger")
    check(isinstance(api.custom_get("schedulers", baseurl=True), list), "a route can be asked by its name")
    maps = api.controlnet_detect(images=[first.image], module="canny")
    check(maps.image.size[0] > 0, "a module makes a map")
    try:
        api.interrogate(first.image)
    except RuntimeError as error:
        check(error.args[0] == 404, "interrogating is refused: there is no model for it")
    else:
        check(False, "interrogating is refused")


class Aiohttp:
    """In the place of aiohttp, of which the client uses this much: each request is one of `requests` in a thread."""

    class ClientSession:
        def __init__(self, timeout):
            pass

        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

        def post(self, url, json, auth, timeout):
            return Aiohttp.Answer(url, json, auth)

    class Answer:
        def __init__(self, url, body, auth):
            self.send = functools.partial(requests.post, url, json=body, auth=auth)

        async def __aenter__(self):
            self.answer = await asyncio.to_thread(self.send)
            self.status = self.answer.status_code
            return self

        async def __aexit__(self, *_):
            pass

        async def json(self):
            return self.answer.json()

        async def text(self):
            return self.answer.text

    @staticmethod
    def ClientTimeout(total=None):
        return total

    @staticmethod
    def BasicAuth(name, password):
        return name, password


def at_once(api):
    """Requests that the client does not wait for one by one."""
    sys.modules["aiohttp"] = Aiohttp

    async def draw():
        same = {"prompt": "red circle", "width": 64, "height": 64, "steps": 2, "use_async": True}
        return await asyncio.gather(*(api.txt2img(seed=seed, alwayson_scripts={}, **same) for seed in (5, 6)))

    seeds = [drawn.info["seed"] for drawn in asyncio.run(draw())]
    check(seeds == [5, 6], f"two requests at once are each answered with their own picture, {seeds} here")


def extensions(api, picture):
    """What the client writes into `alwayson_scripts` for extensions. It keeps what it adds to the default of that."""
    same = {"prompt": "red circle", "width": 64, "height": 64, "steps": 1}
    check(api.has_adetailer, "ADetailer is among the scripts")
    drawn = api.txt2img(adetailer=[webuiapi.ADetailer()], alwayson_scripts={}, **same)
    check(len(drawn.images) == 1, "ADetailer's arguments are taken as the client writes them")
    for title, asked in {
        "animatediff": {"animatediff": webuiapi.AnimateDiff()},
        "reactor": {"reactor": webuiapi.ReActor(picture)},
        "roop": {"roop": webuiapi.Roop(picture)},
        "Self Attention Guidance": {"sag": webuiapi.Sag()},
    }.items():
        try:
            api.txt2img(alwayson_scripts={}, **asked, **same)
        except RuntimeError as error:
            status, text = error.args
            check(status == 422 and title in text, f"{title} is refused by its name, with status {status}")
        else:
            check(False, f"{title} is refused")


def noted(called):
    """Notes each call of the client's methods, its interfaces for extensions among them; returns them by class and name."""
    interfaces = [known for name, known in vars(webuiapi).items() if name.endswith("Interface")]

    def noting(key, method):
        @functools.wraps(method)
        def note(*arguments, **named):
            called.add(key)
            return method(*arguments, **named)

        return note

    methods = {}
    for owner in [webuiapi.WebUIApi, *interfaces]:
        for name, method in list(vars(owner).items()):
            # Those that only print ask nobody.
            if inspect.isfunction(method) and not name.startswith(("_", "print_")):
                methods[owner, name] = method
                setattr(owner, name, noting((owner, name), method))
    return methods


def every_other_method(api, picture, missing):
    """Calls the methods that nothing above has called: the server answers each, and refuses only what is not here."""
    answers = []
    api.session.hooks["response"].append(lambda answer, *_, **__: answers.append(answer))
    for owner, name in sorted(missing, key=str):
        method = getattr(api if isinstance(api, owner) else owner(api), name)
        arguments = {}
        for argument, about in inspect.signature(method).parameters.items():
            if argument in ("image", "input_image", "mask"):
                arguments[argument] = picture
            elif about.default is inspect.Parameter.empty:
                arguments[argument] = "1"
        answers.clear()
        try:
            method(**arguments)
        except (KeyError, RuntimeError):
            # The client looks into a refusal for what it asked for, or raises it.
            pass
        title = f"{owner.__name__}.{name}"
        check(len(answers) == 1, f"{title} asks the server")
        answer = answers[0]
        is_let_in = answer.status_code < 500 and answer.status_code not in (401, 429)
        check(is_let_in, f"{title} is answered with {answer.status_code}")
        if answer.status_code == 404 and answer.json() == {"detail": "Not Found"}:
            path = answer.request.path_url
            check(path.startswith(NOT_HERE), f"{path} is known not to be here")


def write_adapter(file):
    """A light T2I-Adapter for the demo checkpoint, of numbers that go up and down by their place."""
    header, data, inputs = {}, bytearray(), 192

    def add(name, shape):
        begin = len(data)
        data.extend(array("f", (0.2 * math.sin(1.7 * place) for place in range(math.prod(shape)))).tobytes())
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}

    for level, outputs in enumerate((32, 64, 128, 128)):
        layers = {
            "in_conv": [8, inputs, 1, 1],
            "body.0.block1": [8, 8, 3, 3],
            "body.0.block2": [8, 8, 3, 3],
            "out_conv": [outputs, 8, 1, 1],
        }
        for name, shape in layers.items():
            add(f"body.{level}.{name}.weight", shape)
            add(f"body.{level}.{name}.bias", shape[:1])
        inputs = outputs
    words = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(words)) + words + data)


def control(api, source):
    write_adapter(Path(sys.argv[3]) / "ControlNet" / "t2iadapter_canny.safetensors")
    models = api.controlnet_model_list()
    check(len(models) == 1 and models[0].startswith("t2iadapter_canny ["), "a control network is listed at once")
    same = {"prompt": "mountain", "seed": 1, "width": 128, "height": 128, "steps": 4}
    # The client keeps what it adds to the default of `alwayson_scripts` for later requests.
    unit = webuiapi.ControlNetUnit(image=source, module="canny", model=models[0])
    drawn = api.txt2img(controlnet_units=[unit], alwayson_scripts={}, **same)
    check(len(drawn.images) == 2, f"the map comes behind the picture, {len(drawn.images)} pictures here")
    check("ControlNet 0:" in drawn.info["infotexts"][0], "the infotext tells of the unit")
    check(drawn.image.tobytes() != api.txt2img(**same).image.tobytes(), "the unit steers the picture")
    unit = webuiapi.ControlNetUnit(module="canny", model=models[0])
    over = api.img2img(images=[source], controlnet_units=[unit], alwayson_scripts={}, **same)
    check(len(over.images) == 2, "a unit without a picture has the one that is drawn over")
    plain = api.img2img(images=[source], **same)
    check(over.image.tobytes() != plain.image.tobytes(), "and steers too")


def who_may(api, url):
    """HTTP Basic, as `webuiapi`'s users have it; the first user closes the server."""
    admin = open(sys.argv[2]).read().strip()
    made = requests.post(f"{url}/users", json={"name": "ann", "password": "correct horse battery"}, auth=("admin", admin))
    check(made.status_code == 201, "the admin key makes the first user")
    check(api.get_options().get("code") == "unauthorized", "whoever does not say who they are is refused")
    api.set_auth("ann", "correct horse battery")
    result = api.txt2img(prompt="red circle", seed=5, width=64, height=64, steps=1)
    check(len(result.images) == 1, "a user draws with their password")


def refusal(api):
    try:
        api.txt2img(prompt="x", width=128, height=128, steps=1, sampler_name="No such sampler")
    except RuntimeError as error:
        check(error.args[0] in (400, 404, 422), f"an unknown sampler is refused, with status {error.args[0]}")
    else:
        check(False, "an unknown sampler is refused")


def main():
    address = urlsplit(sys.argv[1])
    called = set()
    methods = noted(called)
    api = webuiapi.WebUIApi(host=address.hostname, port=address.port, sampler="Euler a", steps=8)
    progress = api.get_progress()
    check(progress["progress"] == 0 and progress["state"]["job_count"] == 0, "an idle server reports no progress")
    lists(api)
    first = picture(api)
    same_seed(api, first)
    batch(api)
    refusal(api)
    everything_else(api, first)
    control(api, first.image)
    at_once(api)
    extensions(api, first.image)
    api.util_wait_for_ready(check_interval=0.2)
    print("ok: the server is ready again")
    who_may(api, sys.argv[1])
    every_other_method(api, first.image, methods.keys() - called)


if __name__ == "__main__":
    main()
