"""Makes the network of the modules `densepose…` of the TorchScript file that it is published as. Needs torch, nothing else.

    python export_densepose.py densepose_r50_fpn_dl.torchscript --to models/networks

The published file takes levels of 0 to 255, `[3, height, width]`, and gives boxes, coarse and fine segmentations, U and V of
the people that it finds, the surest first. It asks for two operators of torchvision's, which a server does not have: here they
become functions of its own. The made one takes `[1, 3, height, width]` and gives the first three, of as many people as cross
to a plugin.
"""

import io
import zipfile
from pathlib import Path
from typing import Tuple

import torch

import exporting

NETWORK = "densepose_r50_fpn_dl"
# Each has 27 planes of 112 by 112 numbers, and 16 Mi numbers cross at once.
PEOPLE = 32
# Where the functions stand in for the operators.
MODULE = "plain_boxes"


@torch.jit.script
def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float):
    """Of boxes that share more of their union the surest; their places, the surest first."""
    order = torch.argsort(scores, descending=True)
    ordered = boxes[order].float()
    sides = ordered[:, 2:] - ordered[:, :2]
    areas = sides[:, 0] * sides[:, 1]
    ends = torch.min(ordered[:, None, 2:], ordered[None, :, 2:])
    both = (ends - torch.max(ordered[:, None, :2], ordered[None, :, :2])).clamp(min=0.0)
    common = both[:, :, 0] * both[:, :, 1]
    shares = common / (areas[:, None] + areas[None, :] - common) > iou_threshold
    # Row by row on the processor: a device would be asked for each.
    later = torch.triu(shares, 1).cpu()
    kept = torch.ones(later.size(0), dtype=torch.bool)
    for place in range(later.size(0)):
        if bool(kept[place]):
            kept = kept & later[place].logical_not()
    return order[kept.to(order.device)]


@torch.jit.script
def roi_align(
    features: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
):
    """What lies in each box of one picture: for each place the mean of some samples across and as many down."""
    assert sampling_ratio > 0 and features.size(0) == 1
    channels, height, width = features.size(1), features.size(2), features.size(3)
    flat = features.reshape(channels, height * width).float()
    offset = 0.5 if aligned else 0.0
    made = []
    # A few boxes at a time, for the memory's sake.
    for start in range(0, rois.size(0), 16):
        boxes = rois[start : start + 16, 1:].float() * spatial_scale - offset
        sides = boxes[:, 2:] - boxes[:, :2]
        if not aligned:
            sides = sides.clamp(min=1.0)
        # Across and down: the features before and behind each sample, and their shares.
        places, shares = [torch.zeros(0, dtype=torch.long)], [torch.zeros(0)]
        for axis in range(2):
            count = pooled_width if axis == 0 else pooled_height
            length = width if axis == 0 else height
            steps = torch.arange(count * sampling_ratio, dtype=torch.float, device=boxes.device) + 0.5
            at = boxes[:, axis, None] + steps / float(count * sampling_ratio) * sides[:, axis, None]
            inside = (at >= -1.0) & (at <= float(length))
            at = at.clamp(0.0, float(length - 1))
            before = at.floor()
            behind = (before + 1.0).clamp(max=float(length - 1))
            places.append(torch.stack([before, behind]).long())
            shares.append(torch.stack([1.0 - (at - before), at - before]) * inside)
        total = torch.zeros([0], device=boxes.device)
        for row in range(2):
            for column in range(2):
                place = places[2][row][:, :, None] * width + places[1][column][:, None, :]
                share = shares[2][row][:, :, None] * shares[1][column][:, None, :]
                part = flat[:, place] * share
                total = part if total.dim() == 1 else total + part
        # The mean of each place's samples.
        shape = [channels, boxes.size(0), pooled_height, sampling_ratio, pooled_width, sampling_ratio]
        made.append(total.reshape(shape).mean([3, 5]).transpose(0, 1))
    if len(made) == 0:
        return torch.zeros([0, channels, pooled_height, pooled_width], device=features.device).to(features.dtype)
    return torch.cat(made).to(features.dtype)


class People(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.most = PEOPLE

    def forward(self, pictures: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = self.network(pictures[0].to(torch.uint8))
        boxes, coarse, fine = found[0], found[1], found[2]
        return boxes[: self.most].float(), coarse[: self.most].float(), fine[: self.most].float()


def with_functions(path: Path) -> io.BytesIO:
    """The archive with calls of the functions in place of those of the operators."""
    functions = {"nms": nms, "roi_align": roi_align}
    made = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(made, "w") as target:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".py"):
                for function in functions:
                    operator = f"ops.torchvision.{function}(".encode()
                    content = content.replace(operator, f"__torch__.{MODULE}.{function}(".encode())
                if b"ops.torchvision." in content:
                    raise SystemExit(f"{path} asks for other operators of torchvision's than nms and roi_align")
            # It says where in its author's files each line was, which is no longer so.
            if not name.endswith(".debug_pkl"):
                target.writestr(name, content)
        folder = archive.namelist()[0].split("/")[0]
        code = "\n".join(function.code for function in functions.values())
        target.writestr(f"{folder}/code/__torch__/{MODULE}.py", code)
    made.seek(0)
    return made


def main() -> None:
    arguments = exporting.arguments(__doc__)
    arguments.add_argument("network", type=Path, help="the published file")
    asked = arguments.parse_args()
    target = exporting.target(asked, NETWORK)
    with exporting.reading(asked.network):
        network = torch.jit.load(with_functions(asked.network), map_location="cpu").eval()
    scripted = torch.jit.script(People(network))
    with torch.no_grad():
        shapes = [list(numbers.shape) for numbers in scripted(torch.zeros(1, 3, 128, 192))]
    fits = len(shapes[0]) == 2 and shapes[0][1] == 4 and shapes[1][1] >= 2 and shapes[2][1] == 25
    if not fits:
        raise SystemExit(f"{asked.network} gives {shapes}, which are no boxes and segmentations")
    exporting.save(scripted, target)
    print(f"{target}: gives {shapes} of a black picture")


if __name__ == "__main__":
    main()
