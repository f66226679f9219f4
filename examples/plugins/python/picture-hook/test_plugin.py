import unittest

from gesso_plugin import DrawnPicture
from gesso_plugin.fake import Host, Picture

import plugin


class Test(unittest.TestCase):
    def test_half_white_is_half_bright(self):
        picture = Picture(2, 1, "gray8", bytes([0, 255]))
        finished = plugin.finish({}, DrawnPicture(), picture, None, Host())
        self.assertEqual(finished.fields, {"Brightness": "50 %"})
        self.assertIs(finished.picture, picture)


if __name__ == "__main__":
    unittest.main()
