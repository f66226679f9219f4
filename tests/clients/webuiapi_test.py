"""Draws pictures with PyPI's `webuiapi`, as its users would, against a running server.

Usage: python3 webuiapi_test.py http://127.0.0.1:PORT
Ends with status 1 and the failed check's sentence when the server answers what such a client cannot use.
"""

import sys
from urllib.parse import urlsplit

import webuiapi

MODEL = "demo-v1"


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


def refusal(api):
    try:
        api.txt2img(prompt="x", width=128, height=128, steps=1, sampler_name="No such sampler")
    except RuntimeError as error:
        check(error.args[0] in (400, 404, 422), f"an unknown sampler is refused, with status {error.args[0]}")
    else:
        check(False, "an unknown sampler is refused")


def main():
    address = urlsplit(sys.argv[1])
    api = webuiapi.WebUIApi(host=address.hostname, port=address.port, sampler="Euler a", steps=8)
    progress = api.get_progress()
    check(progress["progress"] == 0 and progress["state"]["job_count"] == 0, "an idle server reports no progress")
    lists(api)
    first = picture(api)
    same_seed(api, first)
    batch(api)
    refusal(api)
    api.util_wait_for_ready(check_interval=0.2)
    print("ok: the server is ready again")


if __name__ == "__main__":
    main()
