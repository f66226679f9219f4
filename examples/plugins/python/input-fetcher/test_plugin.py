import unittest

from gesso_plugin import InvalidInput
from gesso_plugin.fake import Host

import plugin


class Test(unittest.TestCase):
    def test_a_colour_is_a_picture_of_it(self):
        file = plugin.fetch("colour:fF8800", Host())
        self.assertEqual((len(file), file[:2]), (54 + 64 * 64 * 3, b"BM"))
        # Blue comes first.
        self.assertEqual(file[54:], bytes([0, 0x88, 0xFF]) * 64 * 64)

    def test_what_is_no_colour_is_refused_in_a_sentence(self):
        for reference in ["colour:", "colour:f80", "colour:+ff880", "colour:ff88zz"]:
            with self.assertRaisesRegex(InvalidInput, "names no colour"):
                plugin.fetch(reference, Host())


if __name__ == "__main__":
    unittest.main()
