"""Makes TorchScript networks of MediaPipe's published networks for faces and hands, for the modules `mediapipe_face` and
`depth_hand_refiner`. Needs torch, nothing else.

    pip download mediapipe==0.10.14 --no-deps --only-binary=:all: --python-version 3.11
    python export_mediapipe_networks.py mediapipe-0.10.14-*.whl --to models/networks

The networks lie in MediaPipe's package as TensorFlow Lite files, up to its version 0.10.21; such files may be given instead of
a package, and those that are given are made. Each becomes a network that takes a picture with its channels first and gives
what the file gives, in its order and shapes.

`face_detection_short_range` takes `[1, 3, 128, 128]`, -1 to 1, the whole picture with black around it, and gives `[1, 896, 16]`
and `[1, 896, 1]`: boxes and scores before their sigmoid, on grids of 16 x 16 places with two boxes and 8 x 8 with six.
`face_landmark_with_attention` takes `[1, 3, 192, 192]`, 0 to 1, a face turned upright, and gives seven tensors: 468 points of
three numbers, 80 of the lips, 71 of the person's right eye, 71 of the left one, 5 of the right iris and 5 of the left one of two
numbers, and whether there is a face, before the sigmoid.

`palm_detection_full` takes `[1, 3, 192, 192]`, 0 to 1, the whole picture with black around it, and gives `[1, 2016, 18]` and
`[1, 2016, 1]`, on grids of 24 x 24 places with two boxes and 12 x 12 with six. `hand_landmark_full` takes `[1, 3, 224, 224]`, 0
to 1, a hand turned so that its fingers point up, and gives 21 points of three numbers, how sure it is of a hand and that it is a
right one, both after the sigmoid, and 21 points in metres.
"""

import struct
import warnings
import zipfile
from pathlib import Path

import torch
from torch.nn import functional

import exporting

# By its name what each takes along a side, and what it gives.
FILES = {
    "face_detection_short_range.tflite": (128, [[1, 896, 16], [1, 896, 1]]),
    "face_landmark_with_attention.tflite": (
        192,
        [[1, 1, 1, numbers] for numbers in (1404, 160, 142, 142, 10, 10, 1)],
    ),
    "palm_detection_full.tflite": (192, [[1, 2016, 18], [1, 2016, 1]]),
    "hand_landmark_full.tflite": (224, [[1, 63], [1, 1], [1, 1], [1, 63]]),
}

# Codes of the file format: operations, padding, activation, kinds of numbers.
ADD, CONCATENATION, CONV, DEPTHWISE, DEQUANTIZE, FULLY_CONNECTED, LOGISTIC, MAX_POOL = 0, 2, 3, 4, 6, 9, 14, 17
MUL, RELU, RESHAPE, RESIZE_BILINEAR, PAD, MEAN, STRIDED_SLICE, PRELU = 18, 19, 22, 23, 34, 40, 45, 54
SAME = 0
ACTIVATIONS = {0: lambda values: values, 1: functional.relu, 3: functional.relu6}
NO_ACTIVATION = 0
NUMBERS = {0: (torch.float32, 4), 1: (torch.float16, 2), 2: (torch.int32, 4)}


class Table:
    """A table of a flatbuffer: fields by their number in the schema."""

    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at
        self.fields = at - self.read("i", at)

    def read(self, kind: str, at: int):
        return struct.unpack_from("<" + kind, self.data, at)[0]

    def place(self, field: int):
        inside = 4 + 2 * field
        if inside >= self.read("H", self.fields):
            return None
        offset = self.read("H", self.fields + inside)
        return self.at + offset if offset else None

    def number(self, field: int, kind: str = "i", absent: int = 0):
        place = self.place(field)
        return absent if place is None else self.read(kind, place)

    def table(self, field: int):
        place = self.place(field)
        return place and Table(self.data, place + self.read("I", place))

    def vector(self, field: int):
        """Where its first element is, and how many there are."""
        place = self.place(field)
        if place is None:
            return 0, 0
        place += self.read("I", place)
        return place + 4, self.read("I", place)

    def numbers(self, field: int) -> list:
        start, count = self.vector(field)
        return [self.read("i", start + 4 * index) for index in range(count)]

    def bytes(self, field: int) -> bytes:
        start, count = self.vector(field)
        return self.data[start : start + count]

    def tables(self, field: int) -> list:
        start, count = self.vector(field)
        places = [start + 4 * index for index in range(count)]
        return [Table(self.data, place + self.read("I", place)) for place in places]


def options_of(data: bytes) -> dict:
    """The map of numbers and lists of whole numbers that a flexbuffer holds."""
    whole, decimal = {1: "b", 2: "h", 4: "i", 8: "q"}, {4: "f", 8: "d"}

    def read(kinds: dict, at: int, width: int):
        return struct.unpack_from("<" + kinds[width], data, at)[0]

    def value(at: int, width: int, kind: int):
        kind, own_width = kind >> 2, 1 << (kind & 3)
        if kind in (1, 2):
            return read(whole, at, width)
        if kind == 3:
            return read(decimal, at, width)
        if kind in (11, 12):
            start = at - read(whole, at, width)
            count = read(whole, start - own_width, own_width)
            return [read(whole, start + own_width * index, own_width) for index in range(count)]
        raise SystemExit(f"an operation has an option of the unknown kind {kind}")

    root_width, root_kind = data[-1], data[-2]
    root = len(data) - 2 - root_width
    start, width = root - read(whole, root, root_width), 1 << (root_kind & 3)
    count = read(whole, start - width, width)
    key_width = read(whole, start - 2 * width, width)
    keys = start - 3 * width
    keys -= read(whole, keys, width)
    options = {}
    for index in range(count):
        key = keys + key_width * index
        key -= read(whole, key, key_width)
        name = data[key : data.index(b"\0", key)].decode()
        options[name] = value(start + width * index, width, data[start + width * count + index])
    return options


def convolved(pictures, kernel, bias, options: Table, is_depthwise: bool):
    """`pictures` have their channels last, as everything in these files has."""
    stride_across, stride_down = options.number(1), options.number(2)
    # A depthwise one says how many kernels a channel has before what comes after it.
    activation = options.number(4 if is_depthwise else 3, "b")
    kernel = kernel.permute(3, 0, 1, 2) if is_depthwise else kernel.permute(0, 3, 1, 2)
    planes = pictures.permute(0, 3, 1, 2)
    if options.number(0, "b") == SAME:
        planes = functional.pad(
            planes,
            around(int(planes.shape[3]), int(kernel.shape[3]), stride_across)
            + around(int(planes.shape[2]), int(kernel.shape[2]), stride_down),
        )
    groups = int(planes.shape[1]) if is_depthwise else 1
    planes = functional.conv2d(planes, kernel, bias, (stride_down, stride_across), groups=groups)
    return activated(planes.permute(0, 2, 3, 1), activation)


def around(length: int, kernel: int, stride: int) -> list:
    """What is added before and after, so that there is an output for each stride."""
    missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return [missing // 2, missing - missing // 2]


def activated(values, activation: int):
    if activation not in ACTIVATIONS:
        raise SystemExit(f"an operation ends in the unknown activation {activation}")
    return ACTIVATIONS[activation](values)


def halved(pictures, options: Table):
    sides = [options.number(field) for field in (1, 2, 3, 4)]
    if sides != [2, 2, 2, 2] or pictures.shape[1] % 2 or pictures.shape[2] % 2:
        raise SystemExit("a pooling does not halve its picture")
    return functional.max_pool2d(pictures.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def resized(pictures, shape: list, options: Table):
    """Between the middles of places, which is how these files ask for it."""
    aligns_corners, has_middles = options.number(2, "b"), options.number(3, "b")
    if aligns_corners or not has_middles:
        raise SystemExit("a picture is resized by its corners")
    planes = pictures.permute(0, 3, 1, 2)
    planes = functional.interpolate(planes, size=shape[1:3], mode="bilinear", align_corners=False)
    return planes.permute(0, 2, 3, 1)


def crop_of(points, subset, options: dict):
    """The matrix from places of a turned crop around a subset of the points to what the points lie in."""
    left, right = (points[0, options[side], :2] for side in ("left_rotation_idx", "right_rotation_idx"))
    way = right - left
    turn = options["target_rotation_radians"] - torch.atan2(way[1], way[0])
    cos, sin = torch.cos(turn), torch.sin(turn)
    x, y = points[0, subset].unbind(1)[:2]
    upright = torch.stack([cos * x - sin * y, sin * x + cos * y])
    least, most = upright.amin(1), upright.amax(1)
    middle = (least + most) / 2
    across = options["scale_x"] * (most - least)[0] / options["output_width"]
    down = options["scale_y"] * (most - least)[1] / options["output_height"]
    columns, rows = options["output_width"] / 2, options["output_height"] / 2
    nothing, one = torch.zeros_like(cos), torch.ones_like(cos)
    shift_x = cos * middle[0] + sin * middle[1] - cos * across * columns - sin * down * rows
    shift_y = cos * middle[1] - sin * middle[0] + sin * across * columns - cos * down * rows
    lines = [cos * across, sin * down, nothing, shift_x, -sin * across, cos * down, nothing, shift_y]
    lines += [nothing, nothing, one, nothing, nothing, nothing, nothing, one]
    return torch.stack(lines).reshape(1, 4, 4)


def middles(options: dict):
    """Of the places of a crop: how far down and how far across."""
    sides = [torch.arange(options[side]) + 0.5 for side in ("output_height", "output_width")]
    return torch.stack(torch.meshgrid(*sides, indexing="ij"))


def cropped(pictures, matrix, places):
    """Between the middles of places; nothing from outside."""
    height, width = map(int, pictures.shape[1:3])
    down, across = places.unbind(0)
    x = matrix[0, 0, 0] * across + matrix[0, 0, 1] * down + matrix[0, 0, 3] - 0.5
    y = matrix[0, 1, 0] * across + matrix[0, 1, 1] * down + matrix[0, 1, 3] - 0.5
    is_inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], 2)[None]
    crop = functional.grid_sample(pictures.permute(0, 3, 1, 2), grid, align_corners=True)
    return (crop * is_inside).permute(0, 2, 3, 1)


def placed(points, matrix):
    return points @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, :2, 3]


class Network(torch.nn.Module):
    def __init__(self, data: bytes):
        super().__init__()
        if data[4:8] != b"TFL3":
            raise ValueError("this is no TensorFlow Lite file")
        model = Table(data, struct.unpack_from("<I", data)[0])
        graph = model.tables(2)[0]
        buffers = [buffer.bytes(0) for buffer in model.tables(4)]
        self.shapes = []
        self.constants = []
        for index, tensor in enumerate(graph.tables(0)):
            shape, held = tensor.numbers(0), buffers[tensor.number(2, "I")]
            self.shapes.append(shape)
            if held:
                kind, _ = NUMBERS[tensor.number(1, "b")]
                values = torch.frombuffer(bytearray(held), dtype=kind).reshape(shape)
                if kind == torch.float16:
                    values = values.float()
                self.register_buffer(f"held_{index}", values)
                self.constants.append(index)
        self.takes, self.gives = graph.numbers(1), graph.numbers(2)
        codes = [(max(code.number(0, "b"), code.number(3)), code.bytes(1).decode()) for code in model.tables(1)]
        self.steps = []
        for step in graph.tables(3):
            code, name = codes[step.number(0, "I")]
            inputs, outputs, options = step.numbers(1), step.numbers(2), step.table(4)
            # What a step needs beside its inputs is held as they are, so that it goes to the device with the network.
            held = None
            if name in ("Landmarks2TransformMatrix", "TransformTensorBilinear"):
                options = options_of(step.bytes(5))
                subset = options.get("subset_idxs")
                held = f"held_by_{outputs[0]}"
                self.register_buffer(held, torch.tensor(subset) if subset else middles(options))
            self.steps.append((code, name, inputs, outputs, options, held))

    def forward(self, pictures):
        values = {index: getattr(self, f"held_{index}") for index in self.constants}
        values[self.takes[0]] = pictures.permute(0, 2, 3, 1)
        for code, name, inputs, outputs, options, held in self.steps:
            given = [values[index] for index in inputs] + ([getattr(self, held)] if held else [])
            values[outputs[0]] = self.step(code, name, given, self.shapes[outputs[0]], options)
        return tuple(values[index] for index in self.gives)

    def step(self, code: int, name: str, given: list, shape: list, options):
        first = given[0]
        if code in (CONV, DEPTHWISE):
            return convolved(*given, options, code == DEPTHWISE)
        if code == MAX_POOL:
            return halved(first, options)
        if code in (ADD, MUL):
            made = first + given[1] if code == ADD else first * given[1]
            return activated(made, options.number(0, "b") if options else NO_ACTIVATION)
        if code == FULLY_CONNECTED:
            made = functional.linear(first, given[1], given[2] if len(given) > 2 else None)
            return activated(made, options.number(0, "b")).reshape(shape)
        if code == RESIZE_BILINEAR:
            return resized(first, shape, options)
        if code == MEAN:
            return first.mean(given[1].tolist(), keepdim=bool(options.number(0, "b")))
        if code == LOGISTIC:
            return torch.sigmoid(first)
        if code == CONCATENATION:
            return torch.cat(given, options.number(0))
        if code == PRELU:
            return functional.relu(first) - given[1] * functional.relu(-first)
        if code == RELU:
            return functional.relu(first)
        if code == PAD:
            return functional.pad(first, [side for pair in reversed(given[1].tolist()) for side in pair])
        if code in (DEQUANTIZE, RESHAPE) or (code == STRIDED_SLICE and list(first.shape) == shape):
            return first.reshape(shape)
        if name == "Landmarks2TransformMatrix":
            return crop_of(first, given[1], options)
        if name == "TransformTensorBilinear":
            return cropped(*given)
        if name == "TransformLandmarks":
            return placed(first, given[1])
        raise SystemExit(f"there is an unknown operation {code} {name}")


def files_of(path: Path) -> dict:
    if path.suffix == ".tflite":
        with exporting.reading(path):
            return {path.name: path.read_bytes()}
    with exporting.reading(path), zipfile.ZipFile(path) as package:
        return {Path(name).name: package.read(name) for name in package.namelist() if Path(name).name in FILES}


def main() -> None:
    arguments = exporting.arguments(__doc__)
    arguments.add_argument("packages", nargs="+", type=Path, help="MediaPipe's package, or its files")
    asked = arguments.parse_args()
    # Sizes become constants: each network takes one.
    warnings.simplefilter("ignore", torch.jit.TracerWarning)
    files = {name: data for path in asked.packages for name, data in files_of(path).items() if name in FILES}
    if not files:
        raise SystemExit(f"there is none of {', '.join(FILES)} in what was given")
    targets = {name: exporting.target(asked, Path(name).stem) for name in files}
    for name, data in files.items():
        side, gives = FILES[name]
        with exporting.reading(name):
            network = Network(data).eval()
        # Not of one colour: points of a face that all lie in one place would have no direction.
        picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            traced = torch.jit.trace(network, picture)
            shapes = [list(given.shape) for given in traced(picture)]
        if shapes != gives:
            raise SystemExit(f"{name} makes a network that gives {shapes}, not {gives}")
        exporting.save(traced, targets[name])
        print(f"{targets[name]}: takes {side} x {side}, gives {shapes}")


if __name__ == "__main__":
    main()
