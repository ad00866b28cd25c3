"""Residual networks for small images: three stages of basic blocks."""

from collections.abc import Iterator, Mapping
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.encoders.base import Kept, Walk
from tessera.models.encoders.options import CifarResNetOptions, ResNet8Options, ResNet26Options
from tessera.models.encoders.three_stages import STAGES, ThreeStages

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; a 1x1 projection where the width changes.

    Shape:
        images: (N, in_channels, H, W).
        returns: the first convolution's map and the block's, each (N, channels, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        inner = F.relu(self.bn1(self.conv1(images)))
        return inner, F.relu(self.bn2(self.conv2(inner)) + self.downsample(images))


class Stage(nn.ModuleList):
    """Blocks of one width; the first one may halve the map."""

    def __init__(self, in_channels: int, channels: int, num_blocks: int, stride: int) -> None:
        rest = [BasicBlock(channels, channels, 1) for _ in range(num_blocks - 1)]
        super().__init__([BasicBlock(in_channels, channels, stride), *rest])

    def walk(self, name: str, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        """Names and maps: `name.first` of the first convolution, `name.unit1` … of the blocks, `name` of the last."""
        last = images
        for unit, block in enumerate(self, start=1):
            inner, last = block(last)
            if unit == 1:
                yield f"{name}.first", inner
            yield (f"{name}.unit{unit}" if unit < len(self) else name), last


class CifarResNet(ThreeStages):
    """6n+2 layers: a 3x3 stem of 16 kernels, then three stages of n basic blocks, widths 16-32-64, strides 1-2-2.

    `width` multiplies the stages' widths; the stem has half of the first one's kernels, and 16 at least, so that depth
    8 and width 4 are the `resnet8x4` of Tian et al. 2020 (arXiv:1910.10699).

    Source: He, Zhang, Ren & Sun, CVPR 2016, section 4.2, arXiv:1512.03385. Where the width changes the paper pads the
    shortcut with zeros (its option A); we project with a 1x1 convolution and batch normalisation (its option B). The
    classifier is left out. Weights are named as in torchvision: conv1, bn1, layer1.0.conv1, …

    Args:
        options: What the study set.

    Shape:
        images: (N, 3, H, W), H and W at least 4.
        returns: stem and stage1 (N, 16, H, W), stage2 (N, 32, H/2, W/2), stage3 = z (N, 64, H/4, W/4), of width 1.
    """

    def __init__(self, options: CifarResNetOptions | ResNet8Options | ResNet26Options) -> None:
        super().__init__()
        self.options = options
        self.num_blocks = (options.depth - 2) // 6
        one, two, three = (width * options.width for width in WIDTHS)
        stem = max(WIDTHS[0], one // 2)
        self.conv1 = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = Stage(stem, one, self.num_blocks, stride=1)
        self.layer2 = Stage(one, two, self.num_blocks, stride=2)
        self.layer3 = Stage(two, three, self.num_blocks, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        last = ("conv1", *(f"layer{stage}.{self.num_blocks - 1}.conv2" for stage in (1, 2, 3)))
        self.name_layers(stem, (one, two, three), last)

    def walks(self) -> Mapping[str, Walk]:
        stages = zip(STAGES, (self.layer1, self.layer2, self.layer3), strict=True)
        return {"stem": self._stem, **{name: partial(stage.walk, name) for name, stage in stages}}

    def _stem(self, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        yield "stem", F.relu(self.bn1(self.conv1(images)))


class ResNet8(CifarResNet):
    """One block a stage: small, for quick runs."""


class ResNet26(CifarResNet):
    """Four blocks a stage: the paper's encoder for CIFAR."""
