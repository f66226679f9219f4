"""Joins `plugin.py` to the world model-hook: `on_loaded(model, host)` hears of each checkpoint that came into memory."""

import plugin
import wit_world
from gesso_plugin import LoadedModel
from gesso_plugin.host import Host, answered


class WitWorld:
    def on_loaded(self, model: wit_world.LoadedModel) -> None:
        def work():
            plugin.on_loaded(LoadedModel(model.name, model.sha256, model.kind.name.lower()), Host())

        return answered(work)
