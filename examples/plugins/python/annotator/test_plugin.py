import unittest

from gesso_plugin.fake import Host, Picture

import plugin


class Test(unittest.TestCase):
    def test_levels_are_the_nearest_of_a_few(self):
        picture = Picture(2, 2, "gray8", bytes([0, 100, 130, 255]))
        made = plugin.annotate("posterize", picture, None, {"threshold_a": 2}, Host())
        self.assertEqual(made.read_rows(0, 2), bytes([0, 0, 255, 255]))
        self.assertEqual(plugin.levels(4)[90], 85)


if __name__ == "__main__":
    unittest.main()
