"""Joins `plugin.py` to the world annotator: `annotate(module, source, mask, arguments, host)` answers the map."""

import json

import plugin
from gesso_plugin.host import Host, Picture, answered


class WitWorld:
    def annotate(self, module: str, source, mask, arguments: str):
        def work():
            masked = None if mask is None else Picture(mask)
            return plugin.annotate(module, Picture(source), masked, json.loads(arguments), Host()).image

        return answered(work)
