"""Joins `plugin.py` to the world save-hook: `on_saved(params, picture, host)` hears of each picture that was saved."""

import json

import plugin
import wit_world
from gesso_plugin import SavedPicture
from gesso_plugin.host import Host, answered


class WitWorld:
    def on_saved(self, params: str, picture: wit_world.SavedPicture) -> None:
        def work():
            saved = SavedPicture(**{name: getattr(picture, name) for name in SavedPicture.__dataclass_fields__})
            plugin.on_saved(json.loads(params), saved, Host())

        return answered(work)
