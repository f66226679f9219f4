import unittest

from gesso_plugin import Grid
from gesso_plugin.fake import Host, Picture

import plugin


class Test(unittest.TestCase):
    def test_three_pictures_stand_in_one_row(self):
        pictures = [Picture(1, 1), Picture(1, 1), Picture(1, 1)]
        grid = plugin.on_grid({}, Grid(pictures, 2, 2), Host())
        self.assertEqual((grid.columns, grid.rows), (3, 1))
        self.assertIs(grid.pictures[2], pictures[2])


if __name__ == "__main__":
    unittest.main()
