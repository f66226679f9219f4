"""Makes TorchScript networks of OpenPose's published weights, for the modules `openpose…`. Needs torch, nothing else.

    python export_pose_networks.py body_pose_model.pth hand_pose_model.pth facenet.pth --to models/networks

Each file is a dictionary of weights by layer, as its authors or those who converted it published it. Which of the three
networks it is, and so what is made of it is called, is told by its layers; the layout is that of Cao 2017 (bodies: two
branches) and Simon 2017 (hands and faces). Each network takes `[1, 3, height, width]` and gives its maps at an eighth of that
size: 38 of limbs and 19 of parts; 22 of a hand; 71 of a face.
"""

from pathlib import Path

import torch
from torch.nn import functional

import exporting

POOL = "pool"
# What all three see with, up to where they part.
TRUNK = ["conv1_1", "conv1_2", POOL, "conv2_1", "conv2_2", POOL]
TRUNK += ["conv3_1", "conv3_2", "conv3_3", "conv3_4", POOL, "conv4_1", "conv4_2"]
STAGES = range(2, 7)


class Body:
    name = "body_pose_model"
    mark = "conv4_3_CPM"
    gives = [38, 19]
    features = TRUNK + ["conv4_3_CPM", "conv4_4_CPM"]
    branches = ["_L1", "_L2"]
    first = [f"conv5_{layer}_CPM" for layer in range(1, 6)]


class Hand:
    name = "hand_pose_model"
    mark = "conv5_3_CPM"
    gives = [22]
    features = TRUNK + ["conv4_3", "conv4_4", "conv5_1", "conv5_2", "conv5_3_CPM"]
    branches = [""]
    first = ["conv6_1_CPM", "conv6_2_CPM"]


class Face(Hand):
    name = "facenet"
    gives = [71]


def later(stage: int) -> list:
    return [f"Mconv{layer}_stage{stage}" for layer in range(1, 8)]


class Poses(torch.nn.Module):
    def __init__(self, kind, weights: dict):
        super().__init__()
        self.kind = kind
        names = [name for name in kind.features if name != POOL]
        for stage in [kind.first] + [later(stage) for stage in STAGES]:
            names += [name + branch for name in stage for branch in kind.branches]
        self.layers = torch.nn.ModuleDict({name: layer(name, weights) for name in names})

    def run(self, names: list, numbers, ends_in_relu: bool):
        for name in names:
            if name == POOL:
                numbers = functional.max_pool2d(numbers, 2)
                continue
            numbers = self.layers[name](numbers)
            if ends_in_relu or name != names[-1]:
                numbers = functional.relu(numbers)
        return numbers

    def forward(self, pictures):
        features = self.run(self.kind.features, pictures, True)
        given = features
        for stage in [self.kind.first] + [later(stage) for stage in STAGES]:
            branches = [[name + branch for name in stage] for branch in self.kind.branches]
            maps = [self.run(names, given, False) for names in branches]
            given = torch.cat(maps + [features], 1)
        return tuple(maps)


def layer(name: str, weights: dict):
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    outputs, inputs, side, _ = weight.shape
    made = torch.nn.Conv2d(inputs, outputs, side, padding=side // 2)
    made.weight.data, made.bias.data = weight.float(), bias.float()
    return made


def kind_of(weights: dict):
    for kind in (Body, Hand, Face):
        last = f"Mconv7_stage6{kind.branches[-1]}.bias"
        if f"{kind.mark}.weight" in weights and last in weights and len(weights[last]) == kind.gives[-1]:
            return kind
    raise ValueError("these are weights of no body, hand or face of OpenPose")


def poses_of(path: Path) -> Poses:
    with exporting.reading(path):
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(weights, dict):
            raise ValueError("this is no dictionary of weights")
        # Some carry the name of a block before that of the layer.
        weights = {".".join(name.split(".")[-2:]): value for name, value in weights.items()}
        try:
            return Poses(kind_of(weights), weights).eval()
        except KeyError as missing:
            raise ValueError(f"there is no {missing} in it") from None


def main() -> None:
    arguments = exporting.arguments(__doc__)
    arguments.add_argument("weights", nargs="+", type=Path, help="the published files")
    asked = arguments.parse_args()
    for path in asked.weights:
        network = poses_of(path)
        kind = network.kind
        target = exporting.target(asked, kind.name)
        with torch.no_grad():
            traced = torch.jit.trace(network, torch.zeros(1, 3, 184, 184))
            shapes = [list(maps.shape) for maps in traced(torch.zeros(1, 3, 96, 64))]
        wanted = [[1, planes, 12, 8] for planes in kind.gives]
        if shapes != wanted:
            raise SystemExit(f"{path} makes a network that gives {shapes}, not {wanted}")
        exporting.save(traced, target)
        print(f"{target}: gives {kind.gives} maps")


if __name__ == "__main__":
    main()
