"""Arguments are read as in every kit: the cases are those of `sdk-plugin/tests`, which `tests/plugins/kits.rs` lays beside."""

import json
import unittest
from pathlib import Path

from gesso_plugin import Arguments, InvalidInput, arguments_of, lax

CASES = json.loads(Path(__file__).with_name("arguments.json").read_text(encoding="utf-8"))

TABLE = {
    "name": lax.text(""),
    "steps": lax.whole(0, 0),
    "shift": lax.whole(0, -128, 127),
    "share": lax.number(0),
    "on": lax.flag(False),
    "seed": lax.whole(None, 0),
    "sizes": lax.list_of(lax.whole(), []),
    "kind": lax.one_of(["Plain", "Bent"], "Plain"),
}


def read(case: dict):
    arguments = Arguments([case["value"]] if "value" in case else [])
    match case["read"]:
        case "text" | "texts":
            return getattr(arguments, case["read"])(0)
        case "flag":
            return arguments.flag(0, "It")
    return getattr(arguments, case["read"])(0, "It", case["of"])


def said(args) -> dict:
    return {"alwayson_scripts": {"other": None, "Dynamic Prompts": {"args": args}}}


class Test(unittest.TestCase):
    def test_the_arguments_of_a_script_are_read_as_in_every_kit(self):
        for case in CASES["listed"]:
            with self.subTest(case):
                if "refused" in case:
                    with self.assertRaises(InvalidInput) as told:
                        read(case)
                    self.assertEqual(str(told.exception), case["refused"])
                else:
                    self.assertEqual(read(case), case["gives"])

    def test_what_a_request_says_to_a_plugin_is_read_as_in_every_kit(self):
        defaults = arguments_of(said({}), "Dynamic Prompts", TABLE)
        for case in CASES["named"]:
            params = {"alwayson_scripts": {case["key"]: {"args": case["args"]}}}
            with self.subTest(case):
                if "refused" in case:
                    with self.assertRaises(InvalidInput) as told:
                        arguments_of(params, "Dynamic Prompts", TABLE)
                    self.assertEqual(str(told.exception)[: len(case["refused"])], case["refused"])
                else:
                    wanted = None if case["gives"] is None else defaults | case["gives"]
                    self.assertEqual(arguments_of(params, "Dynamic Prompts", TABLE), wanted)

    def test_a_request_that_says_nothing_says_nothing(self):
        for params in ({}, {"alwayson_scripts": None}, {"alwayson_scripts": {"Dynamic Prompts": None}}):
            self.assertIsNone(arguments_of(params, "Dynamic Prompts", TABLE))

    def test_what_has_no_default_must_be_there(self):
        table = {"first": lax.whole(), "second": lax.whole(None)}
        self.assertEqual(lax.from_value([1, None], table), {"first": 1, "second": None})
        for wrong in ({"second": 2}, [None, 2]):
            with self.assertRaisesRegex(InvalidInput, "missing field `first`"):
                lax.from_value(wrong, table)

    def test_numbers_out_of_bounds_are_told_the_bounds(self):
        for kind, says in [
            (lax.number(0, 0, 1), "a number between 0 and 1"),
            (lax.whole(0, 5), "a whole number of at least 5"),
            (lax.whole(0, most=1), "a whole number of at most 1"),
        ]:
            with self.assertRaisesRegex(InvalidInput, f"^share: invalid value: integer `2`, expected {says}$"):
                lax.from_value({"share": 2}, {"share": kind})

    def test_a_default_stays_as_it_is_declared(self):
        arguments_of(said({}), "Dynamic Prompts", TABLE)["sizes"].append(7)
        self.assertEqual(arguments_of(said({}), "Dynamic Prompts", TABLE)["sizes"], [])


if __name__ == "__main__":
    unittest.main()
