"""The real host, on what componentize-py makes of the contract. Only inside of a component is there a `wit_world`."""

import io
import json
import sys
import traceback
from random import Random
from typing import Any, Callable, Sequence

import gesso_plugin as words
from componentize_py_types import Err
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
        return function(*arguments)
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


sys.stdout, sys.stderr = _Log(call.Level.INFO), _Log(call.Level.WARN)


class Picture:
    def __init__(self, image):
        self.image = image
        desc = image.desc()
        self.width, self.height = desc.width, desc.height
        self.format = desc.format.name.lower()

    def read_rows(self, first: int, count: int) -> bytes:
        return _asked(self.image.read_rows, first, count)

    def write_rows(self, first: int, rows: bytes) -> None:
        _asked(self.image.write_rows, first, bytes(rows))

    def resize(self, width: int, height: int) -> "Picture":
        return Picture(_asked(self.image.resize, width, height))

    def convert(self, to: str) -> "Picture":
        return Picture(_asked(self.image.convert, types.PixelFormat[to.upper()]))


class StepTensor:
    def __init__(self, tensor):
        self.tensor = tensor

    def shape(self) -> tuple[int, int, int]:
        return _asked(self.tensor.shape)

    def duplicate(self) -> "StepTensor":
        return StepTensor(_asked(self.tensor.duplicate))

    def apply(self, op: str) -> None:
        _asked(self.tensor.apply, _word(tensors.Unary, op))

    def combine(self, op: str, other: "StepTensor") -> None:
        _asked(self.tensor.combine, _word(tensors.Binary, op), other.tensor)

    def combine_number(self, op: str, number: float) -> None:
        _asked(self.tensor.combine_number, _word(tensors.Binary, op), number)

    def reduce(self, op: str, over: str = "everything", share: float | None = None) -> "StepTensor":
        reduction = getattr(tensors, f"Reduction_{op.capitalize()}")
        reduced = reduction(share) if op == "quantile" else reduction()
        return StepTensor(_asked(self.tensor.reduce, reduced, _word(tensors.Over, over)))

    def slice(self, along: str, first: int, count: int) -> "StepTensor":
        return StepTensor(_asked(self.tensor.slice, _word(tensors.Axis, along), first, count))

    def paste(self, along: str, first: int, other: "StepTensor") -> None:
        _asked(self.tensor.paste, _word(tensors.Axis, along), first, other.tensor)

    def draw(self, seed: int) -> None:
        _asked(self.tensor.draw, seed)

    def read(self) -> list[float]:
        return _asked(self.tensor.read)

    def write(self, values: Sequence[float]) -> None:
        _asked(self.tensor.write, list(values))


def _word(words, text: str):
    """The contract's word."""
    return words[text.upper().replace("-", "_")]


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
        return _asked(kv.get, key)

    def exists(self, key: str) -> bool:
        return _asked(kv.exists, key)

    def set(self, key: str, value: bytes) -> None:
        _asked(kv.set, key, bytes(value))

    def remove(self, key: str) -> None:
        _asked(kv.remove, key)

    def swap(self, key: str, expected: bytes | None, value: bytes | None) -> bool:
        return _asked(kv.swap, key, expected, value)

    def update(self, key: str, change: Callable) -> bytes | None:
        while True:
            old = self.get(key)
            new = change(old)
            if self.swap(key, old, new):
                return new

    def list_keys(self, prefix: str = "", after: str | None = None) -> list[str]:
        return _asked(kv.list_keys, prefix, after)


class Blobs:
    def size(self, name: str) -> int | None:
        return _asked(blobs.size, name)

    def read(self, name: str, offset: int = 0, length: int = 8 << 20) -> bytes:
        return _asked(blobs.read, name, offset, length)

    def put(self, name: str, data: bytes) -> None:
        _asked(blobs.put, name, bytes(data))

    def remove(self, name: str) -> None:
        _asked(blobs.remove, name)

    def list(self, prefix: str = "", after: str | None = None) -> "list[str]":
        return _asked(blobs.list, prefix, after)


class Assets:
    def list(self) -> "list[str]":
        return assets.list()

    def read(self, name: str) -> bytes:
        return _asked(assets.read, name)


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
        call.log(call.Level[level.upper()], text)

    def cancelled(self) -> bool:
        return call.cancelled()

    def new_picture(self, width: int, height: int, format: str = "rgb8") -> Picture:
        desc = types.ImageDesc(width, height, types.PixelFormat[format.upper()])
        return Picture(_asked(images.Image.allocate, desc))

    def list_files(self, folder: str) -> list[str]:
        return _asked(_granted().list, folder)

    def read_file(self, folder: str, path: str) -> bytes:
        return _asked(_granted().read, folder, path)

    def generate(self, params: dict[str, Any], init_images: Sequence[Picture] = (), mask: Picture | None = None) -> Job:
        lent = [picture.image for picture in init_images]
        return Job(_asked(inference.generate, json.dumps(params), lent, mask and mask.image))

    def upscale(self, picture: Picture, upscaler: str, factor: float) -> Picture:
        return Picture(_asked(inference.upscale, picture.image, upscaler, factor))

    def interrogate(self, picture: Picture, model: str) -> str:
        return _asked(inference.interrogate, picture.image, model)

    def networks(self) -> list[str]:
        return _asked(_networks().list)

    def about_network(self, network: str) -> Any:
        text = _asked(_networks().about, network)
        return None if text is None else json.loads(text)

    def run_network(self, network: str, inputs: Sequence[words.Tensor]) -> list[words.Tensor]:
        given = [_networks().Tensor(list(tensor.shape), list(tensor.values)) for tensor in inputs]
        outputs = _asked(_networks().run, network, given)
        return [words.Tensor(tensor.shape, tensor.values) for tensor in outputs]


def _keeps_nothing(why: str):
    # Request hooks carry no files, and step hooks alone have tensors; neither has stores, whatever the manifest wants.
    if assets is None or tensors is not None:
        why = "this world keeps nothing: every one but request-hook and step-hook does"
    raise words.NotPermitted(why)


def _networks():
    if models is None:
        raise words.NotPermitted("this world runs no networks: annotators, scripts, picture hooks and HTTP APIs do")
    return models


def _granted():
    if folders is None:
        raise words.NotPermitted('the manifest wants no folder: add "wants": {"folders": ["name"]}')
    return folders
