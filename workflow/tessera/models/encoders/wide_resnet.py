"""Wide residual networks for small images: three stages of pre-activation blocks."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.encoders.base import Kept, Walk
from tessera.models.encoders.options import WideResNetOptions
from tessera.models.encoders.three_stages import STAGES, ThreeStages


class Block(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, and a shortcut; a 1x1 one where the width changes.

    Shape:
        images: (N, in_channels, H, W).
        returns: the first convolution's map, normalised and cut off, and the sum, each
            (N, channels, H / stride, W / stride).
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = dropout
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.convShortcut = None if in_channels == channels else nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        active = F.relu(self.bn1(images))
        # A projection reads what the convolutions read, a plain shortcut what came in.
        shortcut = images if self.convShortcut is None else self.convShortcut(active)
        inner = F.relu(self.bn2(self.conv1(active)))
        dropped = F.dropout(inner, self.dropout, self.training) if self.dropout else inner
        return inner, shortcut + self.conv2(dropped)


class Stage(nn.Module):
    """Blocks of one width, in `layer`; the first one may halve the map."""

    def __init__(self, in_channels: int, channels: int, num_blocks: int, stride: int, dropout: float) -> None:
        super().__init__()
        rest = [Block(channels, channels, 1, dropout) for _ in range(num_blocks - 1)]
        self.layer = nn.ModuleList([Block(in_channels, channels, stride, dropout), *rest])


class WideResNet(ThreeStages):
    """6n+4 layers: a 3x3 stem of 16 kernels, then three stages of n pre-activation blocks, widths k times 16-32-64.

    Source: Zagoruyko & Komodakis, BMVC 2016, arXiv:1605.07146: their WRN-d-k, blocks B(3,3), strides 1-2-2. The batch
    norm and the ReLU after the last block are part of the last stage. Without the classifier; weights start (He et al.
    2015, by outputs) and are named as in the common PyTorch code: conv1, block1.layer.0.bn1, …, bn1. With `width` 1 the
    first stage is as wide as the stem, and its shortcut plain.

    Args:
        options: What the study set.

    Shape:
        images: (N, 3, H, W), H and W at least 4.
        returns: stem (N, 16, H, W) and stage1 (N, 16k, H, W), stage2 (N, 32k, H/2, W/2), all before a ReLU; stage3 = z
            (N, 64k, H/4, W/4) after the last one. Inside, stage3.sum is what that one was given.
    """

    def __init__(self, options: WideResNetOptions) -> None:
        super().__init__()
        self.options = options
        self.num_blocks = (options.depth - 4) // 6
        one, two, three = (width * options.width for width in (16, 32, 64))
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = Stage(16, one, self.num_blocks, 1, options.dropout)
        self.block2 = Stage(one, two, self.num_blocks, 2, options.dropout)
        self.block3 = Stage(two, three, self.num_blocks, 2, options.dropout)
        self.bn1 = nn.BatchNorm2d(three)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        last = ("conv1", *(f"block{stage}.layer.{self.num_blocks - 1}.conv2" for stage in (1, 2, 3)))
        self.name_layers(16, (one, two, three), last)
        self.inner_channels = {**self.inner_channels, "stage3.sum": three}

    def walks(self) -> Mapping[str, Walk]:
        stages = zip(STAGES, (self.block1, self.block2, self.block3), strict=True)
        return {"stem": self._stem, **{name: partial(self._stage, name, stage) for name, stage in stages}}

    def _stem(self, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        yield "stem", self.conv1(images)

    def _stage(self, name: str, stage: Stage, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        last = images
        for unit, block in enumerate(stage.layer, start=1):
            inner, last = block(last)
            if unit == 1:
                yield f"{name}.first", inner
            if unit < self.num_blocks:
                yield f"{name}.unit{unit}", last
        if name == "stage3":
            yield "stage3.sum", last
            last = F.relu(self.bn1(last))
        yield name, last

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # The code of attention transfer and of CRD compares sums: of the last stage, what its batch norm is given.
        across = (("stem", "stage1"), ("stage1", "stage2"), ("stage2", "stage3.sum"))
        return {**super().stage_pairs, "across_stage": across}
