"""Joins `plugin.py` to the world grid-hook: `on_grid(params, grid, host)` answers the `Grid` that takes the place of the one it was
given, or nothing where that stays."""

import json

import plugin
import wit_world
from gesso_plugin import Grid, checks
from gesso_plugin.host import Host, Picture, answered


class WitWorld:
    def on_grid(self, params: str, pictures: list, columns: int, rows: int) -> wit_world.Grid:
        def work():
            given = Grid([Picture(image) for image in pictures], columns, rows)
            grid = plugin.on_grid(json.loads(params), given, Host())
            grid = given if grid is None else grid
            size = checks.whole("columns", grid.columns), checks.whole("rows", grid.rows)
            return wit_world.Grid([picture.image for picture in grid.pictures], *size)

        return answered(work)
