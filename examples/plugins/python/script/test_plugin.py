import unittest

from gesso_plugin import InvalidInput
from gesso_plugin.fake import Host

import plugin


class Test(unittest.TestCase):
    def test_seeds_count_up_from_the_requests(self):
        host = Host()
        made = plugin.run("Several seeds", {"seed": 7, "width": 8, "height": 8}, [3], [], None, host)
        self.assertEqual([drawing["seed"] for drawing in host.drawings], [7, 8, 9])
        self.assertEqual(len(made), 3)

    def test_too_many_seeds_are_the_clients_mistake(self):
        with self.assertRaises(InvalidInput):
            plugin.run("Several seeds", {}, [17], [], None, Host())


if __name__ == "__main__":
    unittest.main()
