import unittest

from gesso_plugin import InvalidInput, Moment, StepTensors
from gesso_plugin.fake import Host, StepTensor

import plugin


def rescaled(share) -> list[float]:
    positive, guided = StepTensor((1, 1, 2), [0, 2]), StepTensor((1, 1, 2), [0, 8])
    plugin.on_step([share], Moment(), StepTensors(StepTensor((1, 1, 2)), positive, None, guided), Host())
    return guided.read()


class Test(unittest.TestCase):
    def test_contrast_goes_back_by_the_share(self):
        self.assertEqual([rescaled(share) for share in (0, "0.5", 1)], [[0, 8], [0, 5], [0, 2]])

    def test_a_share_of_more_than_all_is_the_clients_mistake(self):
        for wrong in (2, "much", None):
            with self.assertRaises(InvalidInput):
                rescaled(wrong)


if __name__ == "__main__":
    unittest.main()
