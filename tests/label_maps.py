"""Label columns of every kind of map that can be told from the images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.data.labels import Column

MAP_COLUMNS = {
    "segmentation": Column("class_map", tuple("abcd")),
    "depth": Column("depth_map"),
    "disparity": Column("disparity_map"),
    "normals": Column("normal_map"),
}


def label_maps(images: Tensor) -> dict[str, Tensor]:
    """Maps of each of `MAP_COLUMNS`, as a split has them, of images (N, 3, H, W) uint8; a pixel in ten has no label."""
    colors = images.float() / 255
    generator = torch.Generator().manual_seed(0)

    def known() -> Tensor:
        return torch.rand(len(images), *images.shape[2:], generator=generator) > 0.1

    depth = 0.5 + colors[:, 1]
    return {
        "segmentation": torch.where(known(), (4 * colors[:, 0]).long().clamp_max(3), 255).to(torch.uint8),
        "depth": (depth * known()).half(),
        "disparity": (known() / depth).half(),
        "normals": (F.normalize(colors - 0.5, dim=1) * known()[:, None]).half(),
    }
