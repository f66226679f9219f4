import unittest

from gesso_plugin import Infotext
from gesso_plugin.fake import Host

import plugin


class Test(unittest.TestCase):
    def test_a_template_takes_the_place_of_what_was_made_of_it(self):
        text = Infotext("a cat", "", {"Seed": "1"})
        self.assertEqual(plugin.on_infotext("", text, Host()), text)
        made = Infotext("a cat", "", {"Template": "a {cat|dog}", "Seed": "1"})
        self.assertEqual(plugin.on_infotext("", made, Host()), Infotext("a {cat|dog}", "", {"Seed": "1"}))


if __name__ == "__main__":
    unittest.main()
