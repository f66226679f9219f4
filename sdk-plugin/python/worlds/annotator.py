"""Joins `plugin.py` to the world annotator: `annotate(module, source, mask, arguments, host)` answers the map, or an
`Annotated` where it found something beside."""

import json

import plugin
import wit_world
from gesso_plugin import Annotated, checks
from gesso_plugin.host import Host, Picture, answered


class WitWorld:
    def annotate(self, module: str, source, mask, arguments: str) -> wit_world.Annotated:
        def work():
            masked = None if mask is None else Picture(mask)
            made = plugin.annotate(module, Picture(source), masked, json.loads(arguments), Host())
            made = made if isinstance(made, Annotated) else Annotated(made)
            data = None if made.data is None else checks.written_json("data", made.data)
            return wit_world.Annotated(made.picture.image, data)

        return answered(work)
