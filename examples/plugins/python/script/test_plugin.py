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

    def test_a_number_may_be_text_and_one_out_of_range_draws_nothing(self):
        host = Host()
        self.assertEqual(len(plugin.run("Several seeds", {"width": 8, "height": 8}, ["2"], [], None, host)), 2)
        with self.assertRaisesRegex(InvalidInput, '^"Seeds" is 17; it must be a number between 1 and 16.$'):
            plugin.run("Several seeds", {}, [17], [], None, host)
        self.assertEqual(len(host.drawings), 2)


if __name__ == "__main__":
    unittest.main()
