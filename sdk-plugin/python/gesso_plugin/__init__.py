"""The words between a plugin in Python and its host. A plugin is a module `plugin.py` with functions; the last argument
of each is the `Host`, so that a test can pass `gesso_plugin.fake.Host` instead.
"""

import sys
from dataclasses import dataclass, field
from random import Random
from typing import Any, Callable, Literal, Protocol, Sequence

# Before anything that an older one cannot read: what it says of that does not name the remedy.
if sys.version_info < (3, 10):
    raise ImportError(
        "gesso_plugin needs Python 3.10 or later, and this is %d.%d: make the plugin's .venv with a newer one, such as "
        "`python3.11 -m venv .venv`, which `gesso plugin test` then takes" % sys.version_info[:2]
    )

Format = Literal["gray8", "rgb8", "rgba8"]
Level = Literal["debug", "info", "warn", "error"]
Unary = Literal[
    "absolute", "square-root", "exponential", "logarithm", "tanh", "sign", "sine", "cosine", "arc-cosine", "floor"
]
Binary = Literal["add", "subtract", "multiply", "divide", "minimum", "maximum", "power"]
Reduction = Literal["sum", "mean", "deviation", "minimum", "maximum", "norm", "quantile"]
Over = Literal["everything", "places", "channels"]
Axis = Literal["channels", "rows", "columns"]


class Fault(Exception):
    """Why a call cannot be done. Whatever a plugin raises fails its call; these say why in the contract's words."""


class InvalidInput(Fault):
    """An argument is wrong; the client's request ends with the sentence."""


class NotPermitted(Fault):
    """The admin has not granted it."""


class LimitExceeded(Fault):
    """A budget is spent."""


class Cancelled(Fault):
    """Nobody waits for the result any more."""


class DeadlineExceeded(Fault):
    """The time for this call is over."""


class Unavailable(Fault):
    """What the call needs is not there now."""


class Rejected(Exception):
    """Raised by `before`: the request ends here, and the client reads the sentence."""


class Picture(Protocol):
    """A picture that the host holds: 8 bits a channel, interleaved, top row first. Rows are copied where they are read and
    written."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def format(self) -> Format: ...
    def read_rows(self, first: int, count: int) -> bytes: ...
    def write_rows(self, first: int, rows: bytes) -> None: ...
    def resize(self, width: int, height: int) -> "Picture":
        """A new picture of that size, by Lanczos."""

    def convert(self, to: Format) -> "Picture":
        """A new picture in that format."""


@dataclass
class Drawn:
    """What came of a drawing: the pictures, an infotext for each, and the web UI's `info`."""

    images: list[Picture]
    infotexts: list[str]
    info: dict[str, Any]


class Job(Protocol):
    """A drawing under way. Several may be under way at a time; they share the device's steps."""

    def progress(self) -> float:
        """The share that is done, 0 to 1."""

    def cancel(self) -> None: ...
    def finish(self) -> Drawn:
        """Waits for it."""


@dataclass
class Tensor:
    """Numbers in row-major order; a picture goes into a network as `[1, channels, height, width]`."""

    shape: list[int]
    values: list[float]


class StepTensor(Protocol):
    """Channels, rows and columns of 32-bit numbers on the server's device, within a sampler's step. Nothing is copied but
    what is read or written. A call may hold 64; one that nothing refers to any more gives its place back."""

    def shape(self) -> tuple[int, int, int]: ...
    def duplicate(self) -> "StepTensor": ...
    def apply(self, op: Unary) -> None:
        """Each element becomes the function of itself."""

    def combine(self, op: Binary, other: "StepTensor") -> None:
        """Each element becomes the function of itself and of the other's. The other has the same size, or 1 along some axes,
        where it meets every element."""

    def combine_number(self, op: Binary, number: float) -> None: ...
    def reduce(self, op: Reduction, over: Over = "everything", share: float | None = None) -> "StepTensor":
        """A new tensor, with 1 along the axes that it went over: all, rows and columns (`places`), or channels. A deviation is
        a sample's, with n - 1 below; a quantile is the value that `share`, 0 to 1, is below."""

    def slice(self, along: Axis, first: int, count: int) -> "StepTensor":
        """A new tensor of a part."""

    def paste(self, along: Axis, first: int, other: "StepTensor") -> None:
        """Overwrites a part by the other."""

    def draw(self, seed: int) -> None:
        """Overwrites all elements by standard normal numbers: those that PyTorch draws on a processor under this seed."""

    def read(self) -> list[float]:
        """The elements, channel by channel and row by row. Everything waits for the device meanwhile, so it takes the grant
        `read_tensors`."""

    def write(self, values: Sequence[float]) -> None:
        """Overwrites all elements."""


@dataclass
class Moment:
    """One moment of a drawing: before the network (`latent`), behind it (`predicted`), or behind guidance (`guided`). `call` is
    the network's call within the step, from 0: samplers of second order make two in most steps. The latent is `scale` times the
    sum of what is drawn and `sigma` times noise of deviation 1; `scale` is 1 for samplers that go by noise levels, less for
    those that go by timesteps. `timestep` is what the network is told, 0 to 999 with fractions. `guidance` is the factor by which
    guidance goes from the negative prompt's estimate towards the positive one's; 1 where a call leaves the negative prompt out.
    The seed is the picture's own, the same whether it is drawn alone or beside others."""

    point: Literal["latent", "predicted", "guided"] = "guided"
    step: int = 0
    steps: int = 20
    call: int = 0
    sigma: float = 1.0
    scale: float = 1.0
    timestep: float = 354.0
    guidance: float = 7.0
    picture: int = 0
    seed: int = 0
    is_second: bool = False


@dataclass
class StepTensors:
    """The latent under way, what the finished one is by the prompt (all parts that `AND` joins together) and by the negative
    prompt, and what guidance made of both; None where it has not come about yet. Where a call leaves the negative prompt out,
    the first part of the prompt stands in for it. Changes count of what the point lets change."""

    latent: StepTensor
    positive: StepTensor | None = None
    negative: StepTensor | None = None
    guided: StepTensor | None = None


class Kv(Protocol):
    """Small values of the plugin's own; the manifest's `wants` says how many bytes they take (`kv_bytes`). Not in request
    hooks and step hooks, as `Blobs`."""

    def get(self, key: str) -> bytes | None: ...
    def exists(self, key: str) -> bool: ...
    def set(self, key: str, value: bytes) -> None: ...
    def remove(self, key: str) -> None:
        """A value that is not there is no fault."""

    def swap(self, key: str, expected: bytes | None, value: bytes | None) -> bool:
        """Puts `value` in the place of `expected` in one step, and says whether it did; None is no value."""

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Puts what `change` makes of the value in its place; where another call was quicker, it is asked again."""

    def list_keys(self, prefix: str = "", after: str | None = None) -> list[str]:
        """The first 256 behind `after`, in the order of their bytes; none is the end."""


class Blobs(Protocol):
    """Larger values of the plugin's own (`blob_bytes`)."""

    def size(self, name: str) -> int | None: ...
    def read(self, name: str, offset: int = 0, length: int = 8 << 20) -> bytes:
        """At most 8 MiB from `offset` on."""

    def put(self, name: str, data: bytes) -> None: ...
    def remove(self, name: str) -> None:
        """A blob that is not there is no fault."""

    def list(self, prefix: str = "", after: str | None = None) -> "list[str]":
        """As `Kv.list_keys`."""


class Assets(Protocol):
    """The files of the folder `assets` beside the plugin, which the component carries. Not in request hooks."""

    def list(self) -> "list[str]": ...
    def read(self, name: str) -> bytes: ...


class Host(Protocol):
    """What a plugin can ask for while it is called."""

    @property
    def kv(self) -> Kv: ...
    @property
    def blobs(self) -> Blobs: ...
    @property
    def assets(self) -> Assets: ...

    @property
    def request_id(self) -> str:
        """The same in every call of one request."""

    @property
    def seed(self) -> int:
        """Belongs to the request: the same request has the same."""

    @property
    def settings(self) -> dict[str, Any]:
        """As the admin left them."""

    def random(self) -> Random:
        """Numbers from the request's seed, so that the same request gives the same picture."""

    def log(self, text: str, level: Level = "info") -> None: ...
    def cancelled(self) -> bool:
        """Whether anyone still waits; a long call should look now and then."""

    def new_picture(self, width: int, height: int, format: Format = "rgb8") -> Picture: ...
    def list_files(self, folder: str) -> list[str]:
        """Paths in a granted folder; the manifest's `wants` names it."""

    def read_file(self, folder: str, path: str) -> bytes: ...
    def generate(
        self, params: dict[str, Any], init_images: Sequence[Picture] = (), mask: Picture | None = None
    ) -> Job:
        """Begins a drawing; for scripts and picture hooks."""

    def upscale(self, picture: Picture, upscaler: str, factor: float) -> Picture:
        """For scripts and picture hooks."""

    def interrogate(self, picture: Picture, model: str) -> str:
        """A caption by `clip`, tags by `deepbooru`; for scripts and picture hooks."""

    def networks(self) -> list[str]:
        """The granted networks that are there; for annotators, scripts, picture hooks and HTTP APIs, as the next two."""

    def about_network(self, network: str) -> Any:
        """What its exporter wrote into a network's file, or nothing."""

    def run_network(self, network: str, inputs: Sequence[Tensor]) -> list[Tensor]: ...


@dataclass
class Annotated:
    """What an annotator made: the map, and what it found beside. A host takes of that what it knows: under `pose` the people of
    the picture as OpenPose writes them (`people`, `canvas_width`, `canvas_height`, and `animals` where there are any), which
    clients that ask for the map alone are told."""

    picture: Picture
    data: dict[str, Any] | None = None


@dataclass
class Made:
    """A picture that a script made. Grids and the like stand before what was drawn."""

    picture: Picture
    infotext: str = ""
    grid: bool = False


@dataclass
class DrawnPicture:
    """Which picture it is, and how it was drawn. The stage is how far it has come: `decoded`, as the network left it (where only
    the masked part is drawn, that part), or `composited`, as the client gets it. The manifest's `stages` says at which the
    plugin is called."""

    place: int = 0
    count: int = 1
    stage: Literal["decoded", "composited"] = "composited"
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    subseed: int = 0
    infotext: str = ""


@dataclass
class Finished:
    """A picture as a picture hook leaves it, and what its infotext says beside."""

    picture: Picture
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Grid:
    """Pictures row by row: at least one, and at most as many as there are cells. Every cell is as wide and as high as the widest
    and the highest of them; a smaller one is centred."""

    pictures: list[Picture]
    columns: int
    rows: int


@dataclass
class Infotext:
    """A picture's text in parts, fields in their order."""

    prompt: str = ""
    negative_prompt: str = ""
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class SavedPicture:
    """A picture that was saved for people. The path is below the server's folder of outputs, where the first folder is named
    by who asked; the format is how the file's name ends; the infotext is empty where nothing stands in the file."""

    path: str
    format: str
    bytes: int
    infotext: str = ""
    is_grid: bool = False


@dataclass
class LoadedModel:
    """A checkpoint that came into memory: its file's name without folder and extension, the SHA-256 of the whole file in hex
    digits, and what it is made for."""

    name: str
    sha256: str
    kind: Literal["drawing", "inpainting", "editing"] = "drawing"


@dataclass
class Request:
    """A request to an HTTP API. Header names are in lower case; the prefix `/ext/<id>` is cut off the path."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Response:
    """An answer; a body of text goes out as UTF-8."""

    status: int = 200
    body: bytes | str = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


# Last, since they take the faults from above.
from gesso_plugin import lax
from gesso_plugin.arguments import Arguments, arguments_of
