import unittest

from gesso_plugin import LoadedModel

import plugin


class Test(unittest.TestCase):
    def test_a_line_says_which_checkpoint_it_is(self):
        model = LoadedModel("a", "0123456789abcd", "editing")
        self.assertEqual(plugin.line(model), "loaded a [0123456789], for editing")


if __name__ == "__main__":
    unittest.main()
