"""Joins `plugin.py` to the world request-hook: `before(params, host)` answers the parameters to go on with, or nothing
where they stay; `after(params, pictures, host)` the pictures that take the place of the finished ones, or nothing."""

import json

import plugin
from gesso_plugin import Rejected, checks
from gesso_plugin.host import Host, Picture, answered
from wit_world import Verdict_Rejected, Verdict_Replaced, Verdict_Unchanged


class WitWorld:
    def before(self, params: str):
        def work():
            if not hasattr(plugin, "before"):
                return Verdict_Unchanged()
            try:
                replaced = plugin.before(json.loads(params), Host())
            except Rejected as reason:
                return Verdict_Rejected(str(reason))
            if replaced is None:
                return Verdict_Unchanged()
            return Verdict_Replaced(checks.written_json("params", replaced))

        return answered(work)

    def after(self, params: str, outputs: list) -> list:
        def work():
            if not hasattr(plugin, "after"):
                return outputs
            pictures = plugin.after(json.loads(params), [Picture(image) for image in outputs], Host())
            return outputs if pictures is None else [picture.image for picture in pictures]

        return answered(work)
