import unittest

from gesso_plugin import SavedPicture

import plugin


class Test(unittest.TestCase):
    def test_a_line_says_what_was_saved_and_where(self):
        grid = SavedPicture("ann/txt2img-grids/1.png", "png", 7, is_grid=True)
        self.assertEqual(plugin.line(grid), "saved the grid ann/txt2img-grids/1.png, 7 bytes of png")


if __name__ == "__main__":
    unittest.main()
