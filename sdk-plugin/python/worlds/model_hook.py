"""Joins `plugin.py` to the world model-hook: `on_loaded(model, host)` hears of each checkpoint that came into memory."""

import plugin
from gesso_plugin import LoadedModel
from gesso_plugin.host import Host, answered


class WitWorld:
    def on_loaded(self, model) -> None:
        def work():
            plugin.on_loaded(LoadedModel(model.name, model.sha256, model.kind.name.lower()), Host())

        return answered(work)
