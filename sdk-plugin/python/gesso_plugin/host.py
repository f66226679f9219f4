"""The real host, on what componentize-py makes of the contract. Only inside of a component is there a `wit_world`."""

import io
import json
import sys
import traceback
from random import Random
from typing import Any, Callable, Sequence, get_args

import gesso_plugin as words
from componentize_py_types import Err
from gesso_plugin import checks
from wit_world.imports import call

try:  # The worlds differ in what they import.
    from wit_world.imports import images
except ImportError:
    images = None
try:
    from wit_world.imports import folders
except ImportError:
    folders = None
try:
    from wit_world.imports import inference
except ImportError:
    inference = None
try:
    from wit_world.imports import models
except ImportError:
    models = None
try:
    from wit_world.imports import tensors
except ImportError:
    tensors = None
try:
    from wit_world.imports import kv
except ImportError:
    kv = None
try:
    from wit_world.imports import blobs
except ImportError:
    blobs = None
try:
    from wit_world.imports import assets
except ImportError:
    assets = None
try:
    from wit_world.imports import types
except ImportError:
    from wit_world.imports import gesso_plugin_types as types

_FAULTS = [
    (words.InvalidInput, types.Fault_InvalidInput),
    (words.NotPermitted, types.Fault_NotPermitted),
    (words.LimitExceeded, types.Fault_LimitExceeded),
    (words.Unavailable, types.Fault_Unavailable),
]
_SILENT_FAULTS = [
    (words.Cancelled, types.Fault_Cancelled),
    (words.DeadlineExceeded, types.Fault_DeadlineExceeded),
]


def _asked(function: Callable, *arguments):
    """What the host answers, with its faults as exceptions."""
    try:
        return function(*arguments)
    except Err as error:
        for exception, fault in _FAULTS + _SILENT_FAULTS:
            if isinstance(error.value, fault):
                raise exception(getattr(error.value, "value", "")) from None
        raise words.Fault(error.value.value) from None


def answered(function: Callable, *arguments):
    """What the plugin answers, with its exceptions as faults. A surprise goes into the log as a whole."""
    try:
        try:
            return function(*arguments)
        finally:
            for log in _LOGS:
                log.end_line()
    except words.Fault as fault:
        for exception, wire in _FAULTS:
            if isinstance(fault, exception):
                raise Err(wire(str(fault))) from None
        for exception, wire in _SILENT_FAULTS:
            if isinstance(fault, exception):
                raise Err(wire()) from None
        raise Err(types.Fault_Other(str(fault))) from None
    except Exception as surprise:
        # Not `format_exc`: it would read the sources, and there is no file system.
        for frame, line in traceback.walk_tb(surprise.__traceback__):
            place = frame.f_code
            call.log(call.Level.ERROR, f"{place.co_filename}, line {line}, in {place.co_name}")
        raise Err(types.Fault_Other(f"{type(surprise).__name__}: {surprise}")) from None


class _Log(io.TextIOBase):
    """Where `print` ends: the plugin's own log, line by line."""

    def __init__(self, level):
        self._level, self._line = level, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            call.log(self._level, line)
        return len(text)

    def end_line(self) -> None:
        """A call's last line may have no end."""
        if self._line:
            self.write("\n")


_LOGS = sys.stdout, sys.stderr = _Log(call.Level.INFO), _Log(call.Level.WARN)


class Picture:
    def __init__(self, image):
        self.image = image
        desc = image.desc()
        self.width, self.height = desc.width, desc.height
        self.format = desc.format.name.lower()

    def read_rows(self, first: int, count: int) -> bytes:
        return _asked(self.image.read_rows, checks.whole("first", first), checks.whole("count", count))

    def write_rows(self, first: int, rows: bytes) -> None:
        _asked(self.image.write_rows, checks.whole("first", first), checks.data("rows", rows))

    def resize(self, width: int, height: int) -> "Picture":
        size = checks.whole("width", width), checks.whole("height", height)
        return Picture(_asked(self.image.resize, *size))

    def convert(self, to: str) -> "Picture":
        return Picture(_asked(self.image.convert, _word("to", types.PixelFormat, to)))


class StepTensor:
    def __init__(self, tensor):
        self.tensor = tensor

    def shape(self) -> tuple[int, int, int]:
        return _asked(self.tensor.shape)

    def duplicate(self) -> "StepTensor":
        return StepTensor(_asked(self.tensor.duplicate))

    def apply(self, op: str) -> None:
        _asked(self.tensor.apply, _word("op", tensors.Unary, op))

    def combine(self, op: str, other: "StepTensor") -> None:
        _asked(self.tensor.combine, _word("op", tensors.Binary, op), other.tensor)

    def combine_number(self, op: str, number: float) -> None:
        _asked(self.tensor.combine_number, _word("op", tensors.Binary, op), checks.number("number", number))

    def reduce(self, op: str, over: str = "everything", share: float | None = None) -> "StepTensor":
        reduction = getattr(tensors, f"Reduction_{checks.word('op', op, get_args(words.Reduction)).capitalize()}")
        if op == "quantile" and share is None:
            raise words.InvalidInput("a quantile's share is 0 to 1, not None")
        reduced = reduction(checks.number("share", share)) if op == "quantile" else reduction()
        return StepTensor(_asked(self.tensor.reduce, reduced, _word("over", tensors.Over, over)))

    def slice(self, along: str, first: int, count: int) -> "StepTensor":
        part = checks.whole("first", first), checks.whole("count", count)
        return StepTensor(_asked(self.tensor.slice, _word("along", tensors.Axis, along), *part))

    def paste(self, along: str, first: int, other: "StepTensor") -> None:
        axis = _word("along", tensors.Axis, along)
        _asked(self.tensor.paste, axis, checks.whole("first", first), other.tensor)

    def draw(self, seed: int) -> None:
        _asked(self.tensor.draw, checks.seed(seed))

    def read(self) -> list[float]:
        return _asked(self.tensor.read)

    def write(self, values: Sequence[float]) -> None:
        _asked(self.tensor.write, list(map(float, values)))


def _word(what: str, words, text: str):
    """The contract's word."""
    members = {name.lower().replace("_", "-"): member for name, member in words.__members__.items()}
    return members[checks.word(what, text, members)]


class Job:
    def __init__(self, job):
        self._job = job

    def progress(self) -> float:
        return self._job.progress()

    def cancel(self) -> None:
        self._job.cancel()

    def finish(self) -> words.Drawn:
        drawn = _asked(inference.finish, self._job)
        pictures = [Picture(image) for image in drawn.images]
        return words.Drawn(pictures, drawn.infotexts, json.loads(drawn.info))


class Kv:
    def get(self, key: str) -> bytes | None:
        return _asked(kv.get, checks.text("key", key))

    def exists(self, key: str) -> bool:
        return _asked(kv.exists, checks.text("key", key))

    def set(self, key: str, value: bytes) -> None:
        _asked(kv.set, checks.text("key", key), checks.data("value", value))

    def remove(self, key: str) -> None:
        _asked(kv.remove, checks.text("key", key))

    def swap(self, key: str, expected: bytes | None, value: bytes | None) -> bool:
        before = None if expected is None else checks.data("expected", expected)
        after = None if value is None else checks.data("value", value)
        return _asked(kv.swap, checks.text("key", key), before, after)

    def update(self, key: str, change: Callable) -> bytes | None:
        while True:
            old = self.get(key)
            new = change(old)
            if self.swap(key, old, new):
                return new

    def list_keys(self, prefix: str = "", after: str | None = None) -> list[str]:
        return _asked(kv.list_keys, *_from(prefix, after))


class Blobs:
    def size(self, name: str) -> int | None:
        return _asked(blobs.size, checks.text("name", name))

    def read(self, name: str, offset: int = 0, length: int = 8 << 20) -> bytes:
        part = checks.whole("offset", offset, checks.U64_MAX), checks.whole("length", length)
        return _asked(blobs.read, checks.text("name", name), *part)

    def put(self, name: str, data: bytes) -> None:
        _asked(blobs.put, checks.text("name", name), checks.data("data", data))

    def remove(self, name: str) -> None:
        _asked(blobs.remove, checks.text("name", name))

    def list(self, prefix: str = "", after: str | None = None) -> "list[str]":
        return _asked(blobs.list, *_from(prefix, after))


def _from(prefix: str, after: str | None) -> tuple[str, str | None]:
    return checks.text("prefix", prefix), None if after is None else checks.text("after", after)


class Assets:
    def list(self) -> "list[str]":
        return assets.list()

    def read(self, name: str) -> bytes:
        return _asked(assets.read, checks.text("name", name))


class Host:
    @property
    def kv(self) -> Kv:
        if kv is None:
            _keeps_nothing('the manifest wants no bytes for values: add "wants": {"kv_bytes": 65536}')
        return Kv()

    @property
    def blobs(self) -> Blobs:
        if blobs is None:
            _keeps_nothing('the manifest wants no bytes for blobs: add "wants": {"blob_bytes": 1048576}')
        return Blobs()

    @property
    def assets(self) -> Assets:
        if assets is None:
            raise words.NotPermitted("this world carries no files: every one but request-hook does")
        return Assets()

    @property
    def request_id(self) -> str:
        return call.request_id()

    @property
    def seed(self) -> int:
        return call.seed()

    @property
    def settings(self) -> dict[str, Any]:
        return json.loads(call.settings())

    def random(self) -> Random:
        return Random(self.seed)

    def log(self, text: str, level: str = "info") -> None:
        call.log(_word("level", call.Level, level), str(text))

    def cancelled(self) -> bool:
        return call.cancelled()

    def new_picture(self, width: int, height: int, format: str = "rgb8") -> Picture:
        image, pixels = _images().Image, _word("format", types.PixelFormat, format)
        desc = types.ImageDesc(checks.whole("width", width), checks.whole("height", height), pixels)
        return Picture(_asked(image.allocate, desc))

    def list_files(self, folder: str) -> list[str]:
        return _asked(_granted().list, checks.text("folder", folder))

    def read_file(self, folder: str, path: str) -> bytes:
        return _asked(_granted().read, checks.text("folder", folder), checks.text("path", path))

    def generate(self, params: dict[str, Any], init_images: Sequence[Picture] = (), mask: Picture | None = None) -> Job:
        lent = [picture.image for picture in init_images]
        return Job(_asked(_inference().generate, checks.written_json("params", params), lent, mask and mask.image))

    def upscale(self, picture: Picture, upscaler: str, factor: float) -> Picture:
        asked = checks.text("upscaler", upscaler), checks.number("factor", factor)
        return Picture(_asked(_inference().upscale, picture.image, *asked))

    def interrogate(self, picture: Picture, model: str) -> str:
        return _asked(_inference().interrogate, picture.image, checks.text("model", model))

    def networks(self) -> list[str]:
        return _asked(_networks().list)

    def about_network(self, network: str) -> Any:
        text = _asked(_networks().about, checks.text("network", network))
        return None if text is None else json.loads(text)

    def run_network(self, network: str, inputs: Sequence[words.Tensor]) -> list[words.Tensor]:
        given = [_lent(tensor) for tensor in inputs]
        outputs = _asked(_networks().run, checks.text("network", network), given)
        return [words.Tensor(tensor.shape, tensor.values) for tensor in outputs]


def _keeps_nothing(why: str):
    # Request hooks carry no files, and step hooks alone have tensors; neither has stores, whatever the manifest wants.
    if assets is None or tensors is not None:
        why = "this world keeps nothing: every one but request-hook and step-hook does"
    raise words.NotPermitted(why)


def _lent(tensor: words.Tensor):
    shape = [checks.whole("shape", side) for side in tensor.shape]
    return _networks().Tensor(shape, list(map(float, tensor.values)))


def _images():
    if images is None:
        raise words.NotPermitted(
            "this world makes no pictures: request hooks, annotators, picture hooks, scripts, grid hooks and HTTP APIs do"
        )
    return images


def _inference():
    if inference is None:
        raise words.NotPermitted("this world draws nothing: scripts and picture hooks do")
    return inference


def _networks():
    if models is None:
        raise words.NotPermitted("this world runs no networks: annotators, scripts, picture hooks and HTTP APIs do")
    return models


def _granted():
    if folders is None and assets is not None:
        raise words.NotPermitted("this world reads no granted folders: request hooks alone do")
    if folders is None:
        raise words.NotPermitted('the manifest wants no folder: add "wants": {"folders": ["name"]}')
    return folders
