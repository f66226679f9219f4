"""What of the real host needs no component: its sentences. `tests/plugins/kits.rs` runs this in a project."""

import enum
import importlib
import sys
import unittest
from types import ModuleType, SimpleNamespace
from unittest import mock

from gesso_plugin import InvalidInput, LimitExceeded, NotPermitted, checks, fake

FAULTS = ["InvalidInput", "NotPermitted", "LimitExceeded", "Unavailable", "Cancelled", "DeadlineExceeded", "Other"]


class Err(Exception):
    def __init__(self, value):
        super().__init__(value)
        self.value = value


def module(name: str, **members) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


def host(**interfaces):
    """`gesso_plugin.host` in a world that imports these beside `call`, whose lines are the list `lines`."""
    lines: list[tuple[str, str]] = []
    levels = enum.Enum("Level", ["DEBUG", "INFO", "WARN", "ERROR"])
    call = SimpleNamespace(Level=levels, log=lambda level, line: lines.append((level.name.lower(), line)))
    wire = {f"Fault_{name}": type(name, (SimpleNamespace,), {"__init__": tell}) for name in FAULTS}
    types = SimpleNamespace(PixelFormat=enum.Enum("PixelFormat", ["GRAY8", "RGB8", "RGBA8"]), **wire)
    modules = {
        "componentize_py_types": module("componentize_py_types", Err=Err),
        "wit_world": module("wit_world"),
        "wit_world.imports": module("wit_world.imports", call=call, types=types, **interfaces),
    }
    sys.modules.pop("gesso_plugin.host", None)
    # The module takes both for its log.
    with mock.patch.dict(sys.modules, modules), mock.patch.multiple(sys, stdout=None, stderr=None):
        made = importlib.import_module("gesso_plugin.host")
        made.lines, made.out = lines, sys.stdout
    return made


def tell(self, value=None):
    self.value = value


class Test(unittest.TestCase):
    def failed(self, real, function):
        with self.assertRaises(Err) as caught:
            real.answered(function)
        return caught.exception.value

    def test_a_last_line_without_an_end_is_in_the_log_before_the_trace(self):
        real = host()

        def work():
            print("one\ntwo", end="", file=real.out)
            return {}["none"]

        self.assertEqual(self.failed(real, work).value, "KeyError: 'none'")
        self.assertEqual(real.lines[:2], [("info", "one"), ("info", "two")])
        self.assertRegex(real.lines[-1][1], "in work$")
        real.answered(lambda: print("", end="", file=real.out))
        self.assertEqual(real.lines[-1][0], "error", "an empty line more")

    def test_wrong_types_are_refused_before_they_reach_the_host(self):
        asked = []
        image = SimpleNamespace(
            desc=lambda: SimpleNamespace(width=2, height=3, format=SimpleNamespace(name="RGB8")),
            read_rows=lambda *part: asked.append(part),
            write_rows=lambda *part: asked.append(part),
        )
        kv = SimpleNamespace(get=lambda key: b"old", swap=lambda *given: asked.append(given) or True)
        real = host(kv=kv)
        picture = real.Picture(image)
        for one in (picture, fake.Picture(2, 3)):
            with self.assertRaisesRegex(TypeError, "`count` must be a whole number, not 1.5"):
                one.read_rows(0, 1.5)
            with self.assertRaisesRegex(ValueError, "`first` must be from 0 to .*, not -1"):
                one.read_rows(-1, 1)
        for store in (real.Kv(), fake.Kv()):
            for wrong in ("text", 5, {}, {65}, [300]):
                with self.assertRaisesRegex(TypeError, "`value` must be bytes"):
                    store.update("key", lambda old: wrong)
        self.assertEqual(asked, [])
        picture.write_rows(0, bytearray(b"abc"))
        real.Kv().update("key", lambda old: bytearray(b"new"))
        self.assertEqual(asked, [(0, b"abc"), ("key", b"old", b"new")])
        self.assertEqual([type(value) for value in (asked[0][1], asked[1][2])], [bytes, bytes])

    def test_words_that_the_contract_does_not_have_are_refused_by_the_fake_too(self):
        real = host(images=SimpleNamespace(Image=None))
        for one in (real.Host(), fake.Host()):
            with self.assertRaisesRegex(ValueError, "`level` must be one of debug, info, warn, error, not 'warning'"):
                one.log("x", "warning")
            one.log(7, "warn")
        self.assertEqual(real.lines, [("warn", "7")])
        with self.assertRaisesRegex(ValueError, "`format` must be one of gray8, rgb8, rgba8, not 'rgb'"):
            real.Host().new_picture(1, 1, "rgb")

    def test_a_quantile_needs_its_share(self):
        tensors = SimpleNamespace(Reduction_Quantile=None)
        with self.assertRaisesRegex(InvalidInput, "0 to 1, not None"):
            host(tensors=tensors).StepTensor(None).reduce("quantile")

    def test_numbers_are_no_texts_or_switches(self):
        self.assertEqual(checks.number("factor", 2), 2.0)
        for wrong in ("2", b"2", True, None, 10**400):
            with self.assertRaisesRegex(TypeError, "`factor` must be a number, not "):
                checks.number("factor", wrong)

    def test_what_json_cannot_say_is_refused_before_it_reaches_the_host(self):
        asked = []
        real = host(inference=SimpleNamespace(generate=lambda *given: asked.append(given)))
        for one in (real.Host(), fake.Host()):
            for wrong in (float("nan"), {1}):
                with self.assertRaisesRegex(TypeError, "`params` must be what JSON can say: "):
                    one.generate({"cfg_scale": wrong})
        self.assertEqual(asked, [])
        real.Host().generate({"steps": 1})
        self.assertEqual(asked[0][0], '{"steps": 1}')

    def test_a_wrong_seed_is_the_same_fault_in_both(self):
        drawn = []
        real = host().StepTensor(SimpleNamespace(draw=drawn.append))
        for tensor in (real, fake.StepTensor((1, 1, 1))):
            for wrong in (-1, 1.5, "abc", 1 << 64):
                with self.assertRaisesRegex(InvalidInput, r"a seed is a whole number from 0 to 2\^64, not "):
                    tensor.draw(wrong)
            tensor.draw((1 << 64) - 1)
        self.assertEqual(drawn, [(1 << 64) - 1])

    def test_what_a_world_lacks_is_told_in_its_words(self):
        step, request = host(assets=SimpleNamespace()), host()
        lacks = {
            "draws nothing: scripts and picture hooks": [
                lambda: step.Host().generate({}),
                lambda: step.Host().upscale(SimpleNamespace(image=None), "Lanczos", 2),
                lambda: step.Host().interrogate(SimpleNamespace(image=None), "clip"),
            ],
            "makes no pictures: request hooks": [lambda: step.Host().new_picture(1, 1)],
            "reads no granted folders: request hooks alone": [lambda: step.Host().read_file("cards", "a")],
            'add "wants": {"folders"': [lambda: request.Host().list_files("cards")],
        }
        for says, calls in lacks.items():
            for call in calls:
                with self.assertRaises(NotPermitted) as caught:
                    call()
                self.assertIn(says, str(caught.exception))

    def test_each_fault_crosses_in_its_own_case(self):
        def spent():
            raise LimitExceeded("ten a day")

        fault = self.failed(host(), spent)
        self.assertEqual((type(fault).__name__, fault.value), ("LimitExceeded", "ten a day"))

    def test_what_stands_in_texts_is_text(self):
        self.assertEqual(checks.pairs({"Brightness": 50}), [("Brightness", "50")])
        self.assertEqual([checks.written(None), checks.written(7)], ["", "7"])
        self.assertRaisesRegex(TypeError, "`body` must be bytes, not NoneType", checks.data, "body", None)


if __name__ == "__main__":
    unittest.main()
