"""Joins `plugin.py` to the world picture-hook: `finish(params, about, picture, source, host)` answers a `Finished`, or nothing
where the picture stays as it is."""

import json

import plugin
from gesso_plugin import DrawnPicture, checks
from gesso_plugin.host import Host, Picture, answered
from wit_world import FinishedPicture


class WitWorld:
    def finish(self, params: str, about, picture, source) -> FinishedPicture:
        def work():
            drawn = DrawnPicture(**{name: getattr(about, name) for name in DrawnPicture.__dataclass_fields__})
            drawn.stage = about.stage.name.lower()
            over = None if source is None else Picture(source)
            finished = plugin.finish(json.loads(params), drawn, Picture(picture), over, Host())
            if finished is None:
                return FinishedPicture(picture, [])
            return FinishedPicture(finished.picture.image, checks.pairs(finished.fields))

        return answered(work)
