import unittest

from gesso_plugin.fake import Host

import plugin


class Test(unittest.TestCase):
    def test_a_style_ends_the_prompt(self):
        host = Host(settings={"style": "ink"})
        self.assertEqual(plugin.before({"prompt": "a boat"}, host), {"prompt": "a boat, ink"})
        self.assertEqual(plugin.before({}, host), {"prompt": "ink"})


if __name__ == "__main__":
    unittest.main()
