"""Makes a TorchScript network of Mesh Graphormer's published weights for hands, for the module `depth_hand_refiner`. Needs torch
2 and the authors' code (https://github.com/microsoft/MeshGraphormer, MIT) with what its documentation installs and fetches: the
weights, and MANO's right hand, `src/modeling/data/MANO_RIGHT.pkl`, which its authors give to whoever agrees to their licence.

    python export_hand_mesh.py MeshGraphormer --to models/networks

What is made holds MANO's mean hand and its triangles, and is under MANO's licence like the file that they are read from. It takes
a right hand `[1, 3, 224, 224]`, by the mean and deviation of ImageNet, and gives the camera `[1, 3]`, the vertices
`[1, 778, 3]` in metres and the triangles `[1538, 3]`, as decimal numbers.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

import torch

import exporting

WEIGHTS = "models/graphormer_release/graphormer_hand_state_dict.bin"
BACKBONE = "models/hrnet/cls_hrnet_w64_sgd_lr5e-2_wd1e-4_bs32_x100.yaml"
# What its authors' documentation has fetched, beside the weights.
NEEDED = ["src/modeling/_mano.py", "src/modeling/data/MANO_RIGHT.pkl", BACKBONE]
# Of each block: what goes in, what is between, what comes out.
BLOCKS = [(2051, 1024, 512), (512, 256, 128), (128, 64, 3)]
JOINTS, PLACES = 21, 49


def stay_on_the_processor() -> None:
    """The authors' code moves everything to a GPU, which this needs none of."""
    to = torch.Tensor.to

    def moved(tensor, *where, **how):
        is_gpu = where and isinstance(where[0], (str, torch.device)) and str(where[0]).startswith("cuda")
        return tensor if is_gpu else to(tensor, *where, **how)

    torch.Tensor.to = moved
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor


def published(weights: Path):
    """The network as its authors build it, the hand that it begins from and what makes that coarse."""
    from src.modeling import _gcnn, _mano
    from src.modeling.bert import BertConfig, Graphormer, Graphormer_Hand_Network
    from src.modeling.hrnet.config import config as backbone_config
    from src.modeling.hrnet.config import update_config
    from src.modeling.hrnet.hrnet_cls_net_gridfeat import get_cls_net_gridfeat

    # A trace cannot hold the authors' own operation, which is this one where nothing is trained.
    _gcnn.spmm = _mano.spmm = torch.matmul
    blocks = []
    for takes, between, gives in BLOCKS:
        config = BertConfig.from_pretrained("src/modeling/bert/bert-base-uncased/")
        config.output_attentions = False
        config.img_feature_dim, config.output_feature_dim = takes, gives
        config.hidden_size, config.intermediate_size = between, 2 * between
        config.num_hidden_layers = config.num_attention_heads = 4
        config.graph_conv, config.mesh_type = gives == 3, "hand"
        blocks.append(Graphormer(config=config))
    update_config(backbone_config, BACKBONE)
    backbone = get_cls_net_gridfeat(backbone_config, pretrained="")
    about = argparse.Namespace(device="cpu")
    network = Graphormer_Hand_Network(about, config, backbone, torch.nn.Sequential(*blocks))
    with exporting.reading(weights):
        told = network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=False)
    if told.missing_keys:
        raise SystemExit(f"{weights} lacks {told.missing_keys[:3]}: these are no weights for hands")
    for part in network.modules():
        # As part of the network it goes to the device with it, and as it is it could not be stored.
        if isinstance(part, _gcnn.GraphConvolution):
            neighbours = part.adjmat.to_dense()
            del part.adjmat
            part.register_buffer("adjmat", neighbours)
    return network.eval(), _mano.MANO().eval(), _mano.Mesh(device=torch.device("cpu"))


class HandMesh(torch.nn.Module):
    """What the network does with a picture. Its own method makes the hand that it begins from anew each time, on a GPU."""

    def __init__(self, network, mano, coarse):
        super().__init__()
        self.network = network
        vertices, joints = (given / 1000 for given in mano.layer(torch.zeros(1, 48), torch.zeros(1, 10)))
        # Around the wrist, which is the first joint.
        hand = torch.cat([joints, coarse.downsample(vertices)], 1) - joints[:, :1]
        self.register_buffer("hand", hand)
        self.register_buffer("triangles", torch.as_tensor(mano.face).float())

    def forward(self, picture):
        network = self.network
        whole, places = network.backbone(picture)
        whole = whole.reshape(1, 1, -1).expand(-1, self.hand.shape[1], -1)
        places = network.grid_feat_dim(places.flatten(2).transpose(1, 2))
        features = torch.cat([torch.cat([self.hand, whole], 2), places], 1)
        for block in network.trans_encoder:
            features = self.block(block, features)
        seen = features[:, :-PLACES]
        camera = network.cam_param_fc3(network.cam_param_fc2(network.cam_param_fc(seen).transpose(1, 2)))
        vertices = network.upsampling(seen[:, JOINTS:].transpose(1, 2)).transpose(1, 2)
        return camera.reshape(1, 3), vertices, self.triangles

    @staticmethod
    def block(block, features):
        inner = block.bert
        values = inner.img_embedding(features) + inner.position_embeddings.weight[: features.shape[1]]
        if inner.use_img_layernorm:
            values = inner.LayerNorm(values)
        # Nothing is hidden from anything.
        values = inner.encoder(values, 0.0, head_mask=[None] * len(inner.encoder.layer))[0]
        return block.cls_head(values) + block.residual(features)


def main() -> None:
    arguments = exporting.arguments(__doc__)
    arguments.add_argument("code", type=Path, help="the folder MeshGraphormer")
    arguments.add_argument("--weights", type=Path, help=f"instead of {WEIGHTS} in that folder")
    asked = arguments.parse_args()
    target = exporting.target(asked, "graphormer_hand_state_dict")
    weights = (asked.weights or asked.code / WEIGHTS).resolve()
    for needed in [asked.code / name for name in NEEDED]:
        if not needed.is_file():
            raise SystemExit(f"there is no {needed}; the authors' documentation says where it comes from")
    # The authors' code finds its files from there.
    os.chdir(asked.code)
    sys.path.insert(0, os.getcwd())
    warnings.simplefilter("ignore", torch.jit.TracerWarning)
    stay_on_the_processor()
    picture = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network, mano, coarse = published(weights)
        wanted = network(picture, mano, coarse)
        traced = torch.jit.trace(HandMesh(network, mano, coarse).eval(), picture)
        camera, vertices, triangles = traced(picture)
    torch.testing.assert_close((camera[0], vertices), (wanted[0], wanted[3]), rtol=1e-3, atol=1e-4)
    shapes = [list(given.shape) for given in (camera, vertices, triangles)]
    if shapes != [[1, 3], [1, 778, 3], [1538, 3]]:
        raise SystemExit(f"this makes a network that gives {shapes}")
    exporting.save(traced, target)
    print(f"{target}: takes 224 x 224, gives {shapes}")


if __name__ == "__main__":
    main()
