"""A host for unit tests: pictures in memory, drawings that end at once. `python3 -m unittest` with it needs no server."""

import json
from random import Random
from typing import Any, Callable, Sequence

from gesso_plugin import Drawn, InvalidInput, NotPermitted

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
        if first < 0 or count < 0 or first + count > self.height:
            raise InvalidInput(f"rows {first} to {first + count} are not in a picture of {self.height}")


def _converted(pixel: bytes, to: str) -> bytes:
    red, green, blue = pixel[:3] if len(pixel) > 1 else pixel * 3
    alpha = pixel[3] if len(pixel) == 4 else 255
    if to == "gray8":
        # ITU-R BT.601, as the host has it.
        return bytes([(19595 * red + 38470 * green + 7471 * blue + 32768) >> 16])
    return bytes([red, green, blue, alpha][: CHANNELS[to]])


class Job:
    """A drawing that ended when it began."""

    def __init__(self, drawn: Drawn):
        self._drawn = drawn

    def progress(self) -> float:
        return 1.0

    def cancel(self) -> None:
        pass

    def finish(self) -> Drawn:
        return self._drawn


class Kv:
    """Values in memory: `values`."""

    def __init__(self):
        self.values: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    def exists(self, key: str) -> bool:
        return key in self.values

    def set(self, key: str, value: bytes) -> None:
        self.values[key] = bytes(value)

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
        self.blobs[name] = bytes(data)

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


class Host:
    """Answers with what it was given, and keeps what it was asked: `logged`, `drawings`. A network is a function of its
    inputs."""

    def __init__(
        self,
        settings: dict | None = None,
        seed: int = 0,
        folders: dict[str, dict[str, bytes]] | None = None,
        networks: dict[str, Callable[[Sequence], list]] | None = None,
        assets: dict[str, bytes] | None = None,
    ):
        self.request_id, self.seed, self.settings = "test", seed, settings or {}
        self._networks = networks or {}
        self.folders = folders or {}
        self.kv, self.blobs, self.assets = Kv(), Blobs(), Assets(assets or {})
        self.logged: list[tuple[str, str]] = []
        self.drawings: list[dict] = []

    def random(self) -> Random:
        return Random(self.seed)

    def log(self, text: str, level: str = "info") -> None:
        self.logged.append((level, text))

    def cancelled(self) -> bool:
        return False

    def new_picture(self, width: int, height: int, format: str = "rgb8") -> Picture:
        return Picture(width, height, format)

    def list_files(self, folder: str) -> list[str]:
        return sorted(self._folder(folder))

    def read_file(self, folder: str, path: str) -> bytes:
        return self._folder(folder)[path]

    def generate(self, params: dict[str, Any], init_images: Sequence = (), mask=None) -> Job:
        # As it would cross to the host, so that what JSON cannot say is found here.
        params = json.loads(json.dumps(params))
        self.drawings.append(params)
        picture = Picture(params.get("width", 512), params.get("height", 512))
        text = f"{params.get('prompt', '')}\nSeed: {params.get('seed', -1)}"
        return Job(Drawn([picture], [text], {"prompt": params.get("prompt", "")}))

    def upscale(self, picture, upscaler: str, factor: float):
        return picture.resize(int(picture.width * factor), int(picture.height * factor))

    def networks(self) -> list[str]:
        return sorted(self._networks)

    def about_network(self, network: str) -> Any:
        return getattr(self._network(network), "about", None)

    def run_network(self, network: str, inputs: Sequence) -> list:
        return self._network(network)(inputs)

    def _network(self, name: str):
        if name not in self._networks:
            raise InvalidInput(f"there is no network {name!r}")
        return self._networks[name]

    def _folder(self, name: str) -> dict[str, bytes]:
        if name not in self.folders:
            raise NotPermitted(f"folder {name!r} is not granted")
        return self.folders[name]
