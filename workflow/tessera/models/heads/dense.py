"""Heads that answer for each pixel, from z of any height and width."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.heads.maps import Expansion


def convolutions(num_features: int, hidden: int | None, num_outputs: int) -> nn.Module:
    """A 3x3 convolution and a 1x1 convolution with nothing between, at the map's size.

    Source: the heads of MTAN's SegNet (Liu, Johns & Davison, CVPR 2019), whose hidden convolution is as wide as z.
    """
    inner = hidden or num_features
    return nn.Sequential(nn.Conv2d(num_features, inner, 3, padding=1), nn.Conv2d(inner, num_outputs, 1))


def aspp(num_features: int, hidden: int | None, num_outputs: int) -> nn.Module:
    """Parallel dilated convolutions and an average of the image, at the map's size: torchvision's.

    Source: DeepLabv3 (Chen et al. 2017), arXiv:1706.05587. Its average needs two images or more in training.
    """
    from torchvision.models.segmentation.deeplabv3 import ASPP, DeepLabHead  # slow to import, of few studies

    head: nn.Sequential = DeepLabHead(num_features, num_outputs)
    if hidden is not None:
        head = nn.Sequential(
            ASPP(num_features, (12, 24, 36), hidden),
            nn.Conv2d(hidden, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, num_outputs, 1),
        )  # fmt: skip
    return head


def expansion(num_features: int, hidden: int | None, num_outputs: int) -> nn.Module:
    """A 3x3 convolution, sub-pixel upsampling by four, and a 1x1 convolution: four times the map's size."""
    wide = hidden or num_features
    inner = max(8, wide // 4)
    return nn.Sequential(Expansion(num_features, wide, inner, factor=4, size=None), nn.Conv2d(inner, num_outputs, 1))


HEADS: dict[str, Callable[[int, int | None, int], nn.Module]] = {
    "conv": convolutions,
    "aspp": aspp,
    "expansion": expansion,
}


def at_size_of(labels: Tensor, prediction: Tensor) -> Tensor:
    """A prediction, float32, at the size of the labels, by bilinear interpolation where it differs.

    Shape:
        labels: (…, H, W).
        prediction: (N, K, h, w).
        returns: (N, K, H, W).
    """
    prediction = prediction.float()
    if prediction.shape[-2:] == labels.shape[-2:]:
        return prediction
    return F.interpolate(prediction, size=labels.shape[-2:], mode="bilinear", align_corners=False)
