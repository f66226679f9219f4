"""Draws a request with several seeds. All drawings are asked for before the first is waited for, so that they share the
device's steps."""

from gesso_plugin import Arguments, Host, Made, Picture


def run(
    title: str, params: dict, arguments: list, init_images: list[Picture], mask: Picture | None, host: Host
) -> list[Made]:
    count = int(Arguments(arguments).number(0, "Seeds", (1, 16)))
    first = params.get("seed", 0)
    seeds = range(first, first + count)
    jobs = [host.generate(params | {"seed": seed}, init_images, mask) for seed in seeds]
    drawn = [job.finish() for job in jobs]
    return [Made(*pair) for each in drawn for pair in zip(each.images, each.infotexts)]
