"""SegNet: VGG-16 with batch norms down, its mirror image up, pooling indices between them."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import vgg

from tessera.models.encoders.base import AttentionPoint, Kept, StagedEncoder, Walk
from tessera.models.encoders.options import SegNetOptions
from tessera.models.encoders.plain import fresh_features


class SegNet(StagedEncoder):
    """Thirteen convolutions in five pooled blocks, and five blocks that undo the pooling; z has the images' size.

    Source: Badrinarayanan, Kendall & Cipolla, PAMI 2017, arXiv:1511.00561, in the form of Liu, Johns & Davison (CVPR
    2019, arXiv:1803.10704, their code): the first convolution of a block on the way up narrows the map, not the last
    one; all are of 3x3 with batch norm and ReLU. Maxima are put back where they were. Weights start as those of `vgg16`
    (the authors' after Glorot & Bengio, under which a map without trained statistics would fade). `features` is
    torchvision's `vgg16_bn` with its names; the way up is `decoder.<block>.<index>`, of Conv2d, BatchNorm2d, ReLU.

    Images need not be divisible by 32: a window at the border that is not full is pooled as well, and the way up
    returns to the sizes of the way down. Where they are divisible, that changes nothing.

    Args:
        options: What the study set. A `width` of less than `full` is ours.

    Shape:
        images: (N, 3, H, W).
        returns: conv1_1, conv1_2 (N, 64, H, W), …, conv5_3 (N, 512, H/16, W/16); on the way up dec5_1, …, dec5_3
            (N, 512, H/16, W/16), …, dec2_2 (N, 64, H/2, W/2), dec1_1, dec1_2 = z (N, 64, H, W). Inside, pool1 to pool5
            and, unpooled, up5 to up1.
    """

    BLOCKS: ClassVar[tuple[int, ...]] = (2, 2, 3, 3, 3)
    WIDTHS: ClassVar[tuple[int, ...]] = (64, 128, 256, 512, 512)
    SHARES: ClassVar[dict[str, int]] = {"full": 1, "half": 2, "quarter": 4, "eighth": 8}

    def __init__(self, options: SegNetOptions) -> None:
        super().__init__()
        self.options = options
        widths = [width // self.SHARES[options.width] for width in self.WIDTHS]
        plan: list[int | str] = []
        for width, convolutions in zip(widths, self.BLOCKS, strict=True):
            plan += [*[width] * convolutions, "M"]
        self.features = fresh_features(lambda: vgg.make_layers(plan, batch_norm=True))
        # From the deepest block up: each has the width of what was pooled to reach the block below.
        narrowed = [widths[0], *widths[:-1]]
        self.decoder = nn.ModuleDict(
            {
                str(block): _block(widths[block - 1], narrowed[block - 1], self.BLOCKS[block - 1])
                for block in range(len(self.BLOCKS), 0, -1)
            }
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

        down = {f"conv{b}_{i}": widths[b - 1] for b, n in enumerate(self.BLOCKS, start=1) for i in range(1, n + 1)}
        up = {f"dec{b}_{i}": narrowed[b - 1] for b in range(5, 0, -1) for i in range(1, self.BLOCKS[b - 1] + 1)}
        self.layer_channels = {**down, **up}
        self.inner_channels = {
            f"{word}{b}": width for word in ("pool", "up") for b, width in enumerate(widths, start=1)
        }
        pools = [index for index, module in enumerate(self.features) if isinstance(module, nn.MaxPool2d)]
        self._starts = [0, *(index + 1 for index in pools[:-1])]
        # Every block ends with a change of resolution, or with z.
        last = (
            *(f"features.{index - 3}" for index in pools),
            *(f"decoder.{b}.{3 * (self.BLOCKS[b - 1] - 1)}" for b in range(5, 0, -1)),
        )
        self.fusion_convolutions = {"conv_before_pool": last, "stage_last": last}

    def walks(self) -> Mapping[str, Walk]:
        down = {f"pool{b}": partial(self._down, b) for b in range(1, 6)}
        return down | {f"dec{b}_{self.BLOCKS[b - 1]}": partial(self._up, b) for b in range(5, 0, -1)}

    def _down(self, block: int, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        start, convolutions = self._starts[block - 1], self.BLOCKS[block - 1]
        last = images
        for i in range(convolutions):
            last = self.features[start + 3 * i : start + 3 * (i + 1)](last)
            yield f"conv{block}_{i + 1}", last
        pooled, indices = F.max_pool2d(last, 2, 2, ceil_mode=True, return_indices=True)
        kept[f"pool{block}"] = indices, last.shape[2:]
        yield f"pool{block}", pooled

    def _up(self, block: int, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        indices, size = kept[f"pool{block}"]
        # torch calls this not deterministic on a GPU, and warns; here no two windows share a place.
        last = F.max_unpool2d(images, indices, [2, 2], [2, 2], output_size=size)
        yield f"up{block}", last
        modules = self.decoder[str(block)]
        assert isinstance(modules, nn.Sequential)
        for i in range(self.BLOCKS[block - 1]):
            last = modules[3 * i : 3 * (i + 1)](last)
            yield f"dec{block}_{i + 1}", last

    @property
    def unit_layers(self) -> tuple[str, ...]:
        return ("dec1_1", "dec1_2")

    @property
    def attention_points(self) -> tuple[AttentionPoint, ...]:
        # As in the code of MTAN's authors: over the first and the last convolution of a block on the way down, over
        # what was unpooled and the last convolution on the way up.
        down = [AttentionPoint(f"conv{b}_1", f"conv{b}_{n}") for b, n in enumerate(self.BLOCKS, start=1)]
        up = [AttentionPoint(f"up{b}", f"dec{b}_{self.BLOCKS[b - 1]}") for b in range(5, 0, -1)]
        return (*down, up[0]._replace(through=("pool5",)), *up[1:])

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # Those of VGG-16, on the way down: target networks narrow their maps as it does.
        return {
            "across_stage": (("conv2_2", "conv3_3"), ("conv3_3", "conv4_3"), ("conv4_3", "conv5_3")),
            "within_stage": (("conv3_1", "conv3_3"), ("conv4_1", "conv4_3"), ("conv5_1", "conv5_3")),
        }


def _block(wide: int, narrow: int, convolutions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (wide, *[narrow] * (convolutions - 1)):
        layers += [nn.Conv2d(inputs, narrow, 3, padding=1), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
