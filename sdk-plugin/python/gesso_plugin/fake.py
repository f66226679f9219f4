"""A host for unit tests: pictures in memory, drawings that end at once. `python3 -m unittest` with it needs no server."""

import json
import math
import operator
import statistics
from itertools import product
from random import Random
from typing import Any, Callable, Sequence, get_args

from gesso_plugin import Cancelled, Drawn, InvalidInput, Level, NotPermitted, checks

CHANNELS = {"gray8": 1, "rgb8": 3, "rgba8": 4}


class Picture:
    """A picture, black where no `rows` are given. Resizing takes the nearest pixel; the real host has Lanczos."""

    def __init__(self, width: int, height: int, format: str = "rgb8", rows: bytes | None = None):
        self.width, self.height, self.format = width, height, format
        self._stride = width * CHANNELS[format]
        self.rows = bytearray(rows if rows is not None else self._stride * height)
        if len(self.rows) != self._stride * height:
            raise ValueError(f"{len(self.rows)} bytes are no {width}x{height} picture in {format}")

    def read_rows(self, first: int, count: int) -> bytes:
        self._check(first, count)
        return bytes(self.rows[first * self._stride : (first + count) * self._stride])

    def write_rows(self, first: int, rows: bytes) -> None:
        count, rest = divmod(len(rows), self._stride)
        if rest:
            raise InvalidInput("only whole rows can be written")
        self._check(first, count)
        self.rows[first * self._stride : (first + count) * self._stride] = rows

    def resize(self, width: int, height: int) -> "Picture":
        size = CHANNELS[self.format]
        out = Picture(width, height, self.format)
        for y in range(height):
            row = self.read_rows(y * self.height // height, 1)
            pixels = (row[x * self.width // width * size :][:size] for x in range(width))
            out.write_rows(y, b"".join(pixels))
        return out

    def convert(self, to: str) -> "Picture":
        size = CHANNELS[self.format]
        pixels = (bytes(self.rows[at : at + size]) for at in range(0, len(self.rows), size))
        return Picture(self.width, self.height, to, b"".join(_converted(pixel, to) for pixel in pixels))

    def _check(self, first: int, count: int) -> None:
        if checks.whole("first", first) + checks.whole("count", count) > self.height:
            raise InvalidInput(f"rows {first} to {first + count} are not in a picture of {self.height}")


def _converted(pixel: bytes, to: str) -> bytes:
    red, green, blue = pixel[:3] if len(pixel) > 1 else pixel * 3
    alpha = pixel[3] if len(pixel) == 4 else 255
    if to == "gray8":
        # ITU-R BT.601, as the host has it.
        return bytes([(299 * red + 587 * green + 114 * blue + 500) // 1000])
    return bytes([red, green, blue, alpha][: CHANNELS[to]])


AXES = ("channels", "rows", "columns")
UNARY = {
    "absolute": abs,
    "square-root": math.sqrt,
    "exponential": math.exp,
    "logarithm": math.log,
    "tanh": math.tanh,
    "sign": lambda value: float((value > 0) - (value < 0)),
    "sine": math.sin,
    "cosine": math.cos,
    "arc-cosine": math.acos,
    "floor": lambda value: float(math.floor(value)),
}
BINARY = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "minimum": min,
    "maximum": max,
    "power": operator.pow,
}
REDUCTIONS = {
    "sum": math.fsum,
    "mean": statistics.fmean,
    "deviation": statistics.stdev,
    "minimum": min,
    "maximum": max,
    "norm": lambda values: math.hypot(*values),
}
# What a place becomes where a reduction has gone over it.
OVER = {
    "everything": lambda channel, row, column: (0, 0, 0),
    "places": lambda channel, row, column: (channel, 0, 0),
    "channels": lambda channel, row, column: (0, row, column),
}


class StepTensor:
    """Channels, rows and columns; `values` has the elements row by row, 0 where none are given. What comes to no number raises,
    where the real host ends the call later; `draw` gives other numbers than the real one."""

    def __init__(self, shape: tuple[int, int, int], values: Sequence[float] | None = None):
        self._shape = tuple(shape)
        self.values = [0.0] * math.prod(shape) if values is None else [float(value) for value in values]
        if len(self.values) != math.prod(shape):
            raise ValueError(f"{len(self.values)} numbers are no tensor of {self._shape}")

    def shape(self) -> tuple[int, int, int]:
        return self._shape

    def duplicate(self) -> "StepTensor":
        return StepTensor(self._shape, self.values)

    def apply(self, op: str) -> None:
        self.values = [UNARY[op](value) for value in self.values]

    def combine(self, op: str, other: "StepTensor") -> None:
        if any(theirs not in (1, own) for theirs, own in zip(other._shape, self._shape)):
            raise InvalidInput(f"a tensor of {other._shape} does not meet one of {self._shape}")
        met = (other.values[other._index(place)] for place in self._places())
        self.values = [BINARY[op](one, two) for one, two in zip(self.values, met)]

    def combine_number(self, op: str, number: float) -> None:
        self.combine(op, StepTensor((1, 1, 1), [number]))

    def reduce(self, op: str, over: str = "everything", share: float | None = None) -> "StepTensor":
        function = REDUCTIONS[op] if op != "quantile" else lambda values: _quantile(values, share)
        gone: dict[tuple, list[float]] = {}
        for place, value in zip(self._places(), self.values):
            gone.setdefault(OVER[over](*place), []).append(value)
        shape = [len({place[axis] for place in gone}) for axis in range(3)]
        return StepTensor(shape, [function(values) for values in gone.values()])

    def slice(self, along: str, first: int, count: int) -> "StepTensor":
        axis, shape = AXES.index(along), list(self._shape)
        if not 0 <= first < first + count <= shape[axis]:
            raise InvalidInput(f"{count} of the {along} from {first} on are not there; the tensor has {shape[axis]}")
        shape[axis] = count
        inside = range(first, first + count)
        return StepTensor(shape, [self.values[self._index(place)] for place in self._places() if place[axis] in inside])

    def paste(self, along: str, first: int, other: "StepTensor") -> None:
        axis = AXES.index(along)
        if self.slice(along, first, other._shape[axis])._shape != other._shape:
            raise InvalidInput(f"a tensor of {other._shape} does not go into one of {self._shape}")
        for place, value in zip(other._places(), other.values):
            own = [at + first * (number == axis) for number, at in enumerate(place)]
            self.values[self._index(own)] = value

    def draw(self, seed: int) -> None:
        numbers = Random(checks.seed(seed))
        self.values = [numbers.gauss(0, 1) for _ in self.values]

    def read(self) -> list[float]:
        return list(self.values)

    def write(self, values: Sequence[float]) -> None:
        if len(values) != len(self.values):
            raise InvalidInput(f"{len(values)} values for a tensor of {len(self.values)}")
        self.values = [float(value) for value in values]

    def _places(self):
        return product(*map(range, self._shape))

    def _index(self, place: Sequence[int]) -> int:
        """Where an element of a larger tensor, or of this one, is met."""
        channel, row, column = (min(at, side - 1) for at, side in zip(place, self._shape))
        return (channel * self._shape[1] + row) * self._shape[2] + column


def _quantile(values: list[float], share: float | None) -> float:
    if share is None or not 0 <= share <= 1:
        raise InvalidInput(f"a quantile's share is 0 to 1, not {share}")
    ordered = sorted(values)
    place, rest = divmod(share * (len(ordered) - 1), 1)
    after = ordered[min(int(place) + 1, len(ordered) - 1)]
    return ordered[int(place)] + rest * (after - ordered[int(place)])


class Job:
    """A drawing that ended when it began, unless it is cancelled."""

    def __init__(self, draw: Callable[[], Drawn]):
        self._draw, self._cancelled = draw, False

    def progress(self) -> float:
        return 1.0

    def cancel(self) -> None:
        self._cancelled = True

    def finish(self) -> Drawn:
        if self._cancelled:
            raise Cancelled("the drawing was cancelled")
        return self._draw()


class Kv:
    """Values in memory: `values`."""

    def __init__(self):
        self.values: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def exists(self, key: str) -> bool:
        return key in self.values

    def set(self, key: str, value: bytes) -> None:
        self.values[key] = checks.data("value", value)

    def remove(self, key: str) -> None:
        self.values.pop(key, None)

    def swap(self, key: str, expected: bytes | None, value: bytes | None) -> bool:
        if self.get(key) != expected:
            return False
        self.remove(key) if value is None else self.set(key, value)
        return True

    def update(self, key: str, change: Callable) -> bytes | None:
        new = change(self.get(key))
        self.remove(key) if new is None else self.set(key, new)
        return new

    def list_keys(self, prefix: str = "", after: str | None = None) -> list[str]:
        return _page(self.values, prefix, after)


class Blobs:
    """Blobs in memory: `blobs`."""

    def __init__(self):
        self.blobs: dict[str, bytes] = {}

    def size(self, name: str) -> int | None:
        return len(self.blobs[name]) if name in self.blobs else None

    def read(self, name: str, offset: int = 0, length: int = 8 << 20) -> bytes:
        if name not in self.blobs:
            raise InvalidInput(f"there is no blob named {name!r}")
        return self.blobs[name][offset : offset + min(length, 8 << 20)]

    def put(self, name: str, data: bytes) -> None:
        self.blobs[name] = checks.data("data", data)

    def remove(self, name: str) -> None:
        self.blobs.pop(name, None)

    def list(self, prefix: str = "", after: str | None = None) -> "list[str]":
        return _page(self.blobs, prefix, after)


class Assets:
    def __init__(self, files: dict[str, bytes]):
        self._files = files

    def list(self) -> "list[str]":
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        if name not in self._files:
            raise InvalidInput(f"the plugin carries no file named {name!r}")
        return self._files[name]


def _page(names, prefix: str, after: str | None) -> list[str]:
    found = sorted((name for name in names if name.startswith(prefix)), key=str.encode)
    return [name for name in found if after is None or name.encode() > after.encode()][:256]


def _black(params: dict, init_images: Sequence, mask) -> Drawn:
    picture = Picture(params.get("width", 512), params.get("height", 512))
    text = f"{params.get('prompt', '')}\nSeed: {params.get('seed', -1)}"
    return Drawn([picture], [text], {"prompt": params.get("prompt", "")})


class Host:
    """Answers with what it was given, and keeps what it was asked: `logged`, `drawings`. A network is a function of its
    inputs. `draw` is asked what comes of a drawing, and may raise a `Fault` as a server does; without it, that is a black picture
    of the asked size."""

    def __init__(
        self,
        settings: dict | None = None,
        seed: int = 0,
        folders: dict[str, dict[str, bytes]] | None = None,
        networks: dict[str, Callable[[Sequence], list]] | None = None,
        assets: dict[str, bytes] | None = None,
        draw: Callable[[dict, Sequence, Any], Drawn] | None = None,
        cancelled: bool = False,
    ):
        self.request_id, self.seed, self.settings = "test", seed, settings or {}
        self._networks, self._draw, self._cancelled = networks or {}, draw or _black, cancelled
        self.folders = folders or {}
        self.kv, self.blobs, self.assets = Kv(), Blobs(), Assets(assets or {})
        self.logged: list[tuple[str, str]] = []
        self.drawings: list[dict] = []

    def random(self) -> Random:
        return Random(self.seed)

    def log(self, text: str, level: str = "info") -> None:
        self.logged.append((checks.word("level", level, get_args(Level)), str(text)))

    def cancelled(self) -> bool:
        return self._cancelled

    def new_picture(self, width: int, height: int, format: str = "rgb8") -> Picture:
        return Picture(width, height, format)

    def list_files(self, folder: str) -> list[str]:
        return sorted(self._folder(folder))

    def read_file(self, folder: str, path: str) -> bytes:
        files = self._folder(folder)
        if path not in files:
            raise InvalidInput(f"there is no file {path!r} in folder {folder!r}")
        return files[path]

    def generate(self, params: dict[str, Any], init_images: Sequence = (), mask=None) -> Job:
        # As it would cross to the host, so that what JSON cannot say is found here.
        params = json.loads(checks.written_json("params", params))
        self.drawings.append(params)
        return Job(lambda: self._draw(params, init_images, mask))

    def upscale(self, picture, upscaler: str, factor: float):
        return picture.resize(int(picture.width * factor), int(picture.height * factor))

    def interrogate(self, picture, model: str) -> str:
        match model.lower():
            case "clip":
                return f"a picture of {picture.width} by {picture.height} pixels"
            case "deepbooru":
                return f"{picture.width} wide, {picture.height} high"
        raise InvalidInput(f"model is {model!r}; it must be clip or deepbooru")

    def networks(self) -> list[str]:
        if not self._networks:
            raise NotPermitted("no network is granted (the grant `models`)")
        return sorted(self._networks)

    def about_network(self, network: str) -> Any:
        return getattr(self._network(network), "about", None)

    def run_network(self, network: str, inputs: Sequence) -> list:
        return self._network(network)(inputs)

    def _network(self, name: str):
        if name not in self._networks:
            raise NotPermitted(f"the network {name!r} is not granted")
        return self._networks[name]

    def _folder(self, name: str) -> dict[str, bytes]:
        if name not in self.folders:
            raise NotPermitted(f"folder {name!r} is not granted")
        return self.folders[name]
