"""Joins `plugin.py` to the world script: `run(title, params, arguments, init_images, mask, host)` answers a list of
`Made`."""

import json

import plugin
from gesso_plugin import checks
from gesso_plugin.host import Host, Picture, answered
from wit_world import Output


class WitWorld:
    def run(self, title: str, params: str, arguments: str, init_images: list, mask) -> Output:
        def work():
            sources = [Picture(image) for image in init_images]
            masked = None if mask is None else Picture(mask)
            made = plugin.run(title, json.loads(params), json.loads(arguments), sources, masked, Host())
            grids = sum(one.grid for one in made)
            infotexts = [checks.written(one.infotext) for one in made]
            return Output([one.picture.image for one in made], infotexts, grids)

        return answered(work)
