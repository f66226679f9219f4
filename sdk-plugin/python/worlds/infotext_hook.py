"""Joins `plugin.py` to the world infotext-hook: `on_infotext(text, infotext, host)` answers the `Infotext` that takes the place
of the one it was given, or nothing where it stays."""

import plugin
import wit_world
from gesso_plugin import Infotext, checks
from gesso_plugin.host import Host, answered


class WitWorld:
    def on_infotext(self, text: str, parts: wit_world.Infotext) -> wit_world.Infotext:
        def work():
            given = Infotext(parts.prompt, parts.negative_prompt, dict(parts.fields))
            read = plugin.on_infotext(text, given, Host())
            if read is None:
                return parts
            prompts = checks.written(read.prompt), checks.written(read.negative_prompt)
            return wit_world.Infotext(*prompts, checks.pairs(read.fields))

        return answered(work)
