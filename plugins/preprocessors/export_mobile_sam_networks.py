"""Makes TorchScript networks of MobileSAM's published weights, for the module `mobile_sam`. Needs torch and the package
`mobile_sam` of https://github.com/ChaoningZhang/MobileSAM (Apache-2.0), whose `weights` folder has the file.

    python export_mobile_sam_networks.py mobile_sam.pt --to models/networks

`mobile_sam_encoder` takes a picture `[1, 3, 1024, 1024]`, by the mean and deviation of ImageNet, its long side at full length, at
the top left, zeros beyond, and gives `[1, 256, 64, 64]`. `mobile_sam_decoder` takes that and 64 points `[64, 2]`, each a place
across and down in those 1024, and gives their masks `[64, 3, 256, 256]` before the threshold, and how sure it is of each,
`[64, 3]`.
"""

from pathlib import Path
from unittest import mock

import torch
from mobile_sam import sam_model_registry

import exporting

NETWORKS = ["mobile_sam_encoder", "mobile_sam_decoder"]
POINTS = 64


class Decoder(torch.nn.Module):
    """What is asked of SAM for every point alone: it belongs to the thing, and there is no box and no mask before."""

    def __init__(self, sam):
        super().__init__()
        prompts = sam.prompt_encoder
        self.decoder, self.positions = sam.mask_decoder, prompts.pe_layer
        self.side = sam.image_encoder.img_size
        # As they are on whichever device this runs: a trace would remember the device of tensors that it makes anew.
        self.register_buffer("everywhere", prompts.get_dense_pe().detach())
        self.register_buffer("on_it", prompts.point_embeddings[1].weight.detach())
        self.register_buffer("no_point", prompts.not_a_point_embed.weight.detach())
        self.register_buffer("no_mask", prompts.no_mask_embed.weight.detach().reshape(1, -1, 1, 1))

    def forward(self, embedding, points):
        places = (points[:, None] + 0.5) / self.side
        point = self.positions._pe_encoding(places) + self.on_it
        prompts = torch.cat([point, self.no_point.expand_as(point)], 1)
        return self.decoder(embedding, self.everywhere, prompts, self.no_mask, True)


def main() -> None:
    arguments = exporting.arguments(__doc__)
    arguments.add_argument("weights", type=Path, help="the published file")
    asked = arguments.parse_args()
    targets = [exporting.target(asked, name) for name in NETWORKS]
    sam = sam_model_registry["vit_t"]()
    with exporting.reading(asked.weights):
        sam.load_state_dict(torch.load(asked.weights, map_location="cpu", weights_only=True))
    # Again after the weights: the encoder computes biases of them when it is told that it is not trained.
    sam.train().eval()
    picture = torch.randn(1, 3, 1024, 1024)
    points = torch.rand(POINTS, 2) * 1024
    with torch.no_grad():
        encoder = torch.jit.trace(sam.image_encoder, picture)
        embedding = encoder(picture)
        # How often it repeats the picture would be a number on the processor, wherever the network runs.
        repeated = lambda numbers, times, dim: numbers.expand(POINTS, -1, -1, -1)
        with mock.patch("torch.repeat_interleave", repeated):
            decoder = torch.jit.trace(Decoder(sam).eval(), (embedding, points))
        sparse, dense = sam.prompt_encoder((points[:, None], torch.ones(POINTS, 1)), None, None)
        wanted = sam.mask_decoder(embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense, True)
        torch.testing.assert_close(decoder(embedding, points), wanted, rtol=1e-3, atol=1e-3)
    for target, network in zip(targets, [encoder, decoder]):
        exporting.save(network, target)
        print(target)


if __name__ == "__main__":
    main()
