"""The fakes do what the host does, as far as plugins' tests go. `tests/plugins/kits.rs` runs this in a project."""

import importlib
import sys
import unittest
from unittest import mock

import gesso_plugin
from gesso_plugin import Cancelled, Drawn, InvalidInput, LimitExceeded, NotPermitted
from gesso_plugin.fake import Host, Picture, StepTensor


class Test(unittest.TestCase):
    def counted(self) -> StepTensor:
        return StepTensor((2, 2, 3), range(12))

    def test_reductions_are_those_of_the_definitions(self):
        for op, over, share, want in [
            ("sum", "everything", None, [66]),
            ("mean", "places", None, [2.5, 8.5]),
            ("maximum", "channels", None, [6, 7, 8, 9, 10, 11]),
            ("deviation", "places", None, [3.5**0.5] * 2),
            ("quantile", "places", 0.9, [4.5, 10.5]),
        ]:
            reduced = self.counted().reduce(op, over, share).read()
            for got, wanted in zip(reduced, want, strict=True):
                self.assertAlmostEqual(got, wanted)

    def test_a_reduction_meets_larger_tensors_everywhere_and_not_the_other_way_round(self):
        tensor = self.counted()
        mean = tensor.reduce("mean", "places")
        tensor.combine("subtract", mean)
        self.assertEqual(tensor.read(), [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5] * 2)
        with self.assertRaises(InvalidInput):
            mean.combine("add", tensor)

    def test_functions_of_each_element_are_those_of_mathematics(self):
        for op, want in [("floor", [-1, 0, 1]), ("sine", [-0.4794255, 0, 0.841471]), ("arc-cosine", [2.0943951, 1.5707963, 0])]:
            tensor = StepTensor((1, 1, 3), [-0.5, 0, 1])
            tensor.apply(op)
            for got, wanted in zip(tensor.read(), want, strict=True):
                self.assertAlmostEqual(got, wanted, 6)

    def test_a_part_is_cut_out_and_put_elsewhere(self):
        tensor = self.counted()
        column = tensor.slice("columns", 2, 1)
        self.assertEqual(column.read(), [2, 5, 8, 11])
        tensor.paste("columns", 0, column)
        self.assertEqual(tensor.read()[:6], [2, 1, 2, 5, 4, 5])
        for wrong in (lambda: tensor.slice("rows", 2, 9), lambda: tensor.paste("rows", 0, column)):
            self.assertRaises(InvalidInput, wrong)

    def test_what_is_not_named_is_refused_as_the_host_refuses_it(self):
        host = Host(folders={"cards": {"colours.txt": b"red"}})
        self.assertEqual(host.read_file("cards", "colours.txt"), b"red")
        self.assertRaises(InvalidInput, lambda: host.read_file("cards", "none.txt"))
        self.assertRaises(NotPermitted, lambda: host.list_files("none"))
        self.assertRaises(NotPermitted, lambda: host.run_network("none", []))
        self.assertRaises(NotPermitted, host.networks)
        self.assertEqual(Host(networks={"depth": list}).networks(), ["depth"])

    def test_words_for_pictures_are_those_of_two_models(self):
        words = [Host().interrogate(Picture(3, 2), model) for model in ("CLIP", "deepbooru")]
        self.assertEqual(words, ["a picture of 3 by 2 pixels", "3 wide, 2 high"])
        self.assertRaises(InvalidInput, lambda: Host().interrogate(Picture(3, 2), "blip"))

    def test_a_drawing_is_what_the_test_says_or_the_fault_that_a_server_gives(self):
        def draw(params, init_images, mask):
            if params["steps"] > 100:
                raise LimitExceeded("too much is asked for")
            return Drawn([*init_images, mask], ["one", "two"], {})

        host, source, mask = Host(draw=draw, cancelled=True), Picture(1, 1), Picture(1, 1, "gray8")
        self.assertEqual(host.generate({"steps": 1}, [source], mask).finish().images, [source, mask])
        self.assertRaisesRegex(LimitExceeded, "too much", host.generate({"steps": 101}).finish)
        job = host.generate({"steps": 1})
        job.cancel()
        self.assertRaises(Cancelled, job.finish)
        self.assertEqual(([one["steps"] for one in host.drawings], host.cancelled()), ([1, 101, 1], True))

    def test_an_older_python_is_told_which_would_do(self):
        with mock.patch.object(sys, "version_info", (3, 9, 2)):
            self.assertRaisesRegex(ImportError, r"this is 3\.9: .*venv", importlib.reload, gesso_plugin)

    def test_grey_is_the_hosts(self):
        # Weights in 1/65536 would make it 132.
        grey = Picture(1, 1, "rgb8", bytes([2, 223, 0])).convert("gray8")
        self.assertEqual(grey.read_rows(0, 1), bytes([131]))


if __name__ == "__main__":
    unittest.main()
