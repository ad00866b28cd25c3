"""ResNet-50, from torchvision's definition."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from tessera.models.encoders.base import AttentionPoint, Kept, StagedEncoder, Walk
from tessera.models.encoders.options import ResNet50Options


class HalvingConvolution(nn.Conv2d):
    """A strided convolution that takes a map of one position as it is: whatever the stride, the values are the same.

    Only the gradient is not: of one position, oneDNN's bfloat16 kernel for 3x3 with stride 2 and padding 1 leaves the
    weights that see nothing but padding without a gradient, so that what lay in memory before is taken for it.
    """

    @classmethod
    def of(cls, convolution: nn.Conv2d) -> "HalvingConvolution":
        """The same convolution, with the same weights; it has no bias."""
        kernel, stride, padding = convolution.kernel_size, convolution.stride, convolution.padding
        with torch.device("meta"):  # draws no weights
            made = cls(convolution.in_channels, convolution.out_channels, kernel, stride, padding, bias=False)  # type: ignore[arg-type]
        made.weight = convolution.weight
        return made

    def forward(self, images: Tensor) -> Tensor:
        stride = [1 if side == 1 else step for side, step in zip(images.shape[-2:], self.stride, strict=True)]
        return F.conv2d(images, self.weight, None, stride, self.padding)


class ResNet50(StagedEncoder):
    """A 7x7 stem of 64 kernels, pooling, and four stages of 3-4-6-3 bottleneck blocks, widths 256-512-1024-2048.

    Source: He, Zhang, Ren & Sun, CVPR 2016, table 1, arXiv:1512.03385. The definition is torchvision's, which halves
    the map in a block's 3x3 convolution, where the paper does it in the 1x1 convolution before. Without the classifier;
    weights start (He et al. 2015, by outputs) and are named as in torchvision: conv1, bn1, layer1.0.conv1, …

    Args:
        options: What the study set. Stride and pooling of the stem change no weight's shape.

    Shape:
        images: (N, 3, H, W).
        returns: stem (N, 64, H/2, W/2), layer1 (N, 256, H/4, W/4), layer2 (N, 512, H/8, W/8), layer3
            (N, 1024, H/16, W/16), layer4 = z (N, 2048, H/32, W/32), rounded up; `stem_stride` 1 doubles each, and so
            does `stem_pool` false from layer1 on. With `dilate` layer3 and layer4 are of the size of layer2.
    """

    attention_reduction = 4  # that of a bottleneck block

    # By strides, as in the CIFAR networks: the convolutions before each change of resolution are the stages' last.
    _LAST = ("conv1", "layer1.2.conv3", "layer2.3.conv3", "layer3.5.conv3", "layer4.2.conv3")
    fusion_convolutions = {"conv_before_pool": _LAST, "stage_last": _LAST}  # noqa: RUF012

    def __init__(self, options: ResNet50Options) -> None:
        super().__init__()
        self.options = options
        whole = torchvision.models.resnet50(
            weights=None, replace_stride_with_dilation=[False, options.dilate, options.dilate]
        )
        self.conv1, self.bn1, self.relu = whole.conv1, whole.bn1, whole.relu
        self.conv1.stride = (options.stem_stride, options.stem_stride)
        self.maxpool = whole.maxpool if options.stem_pool else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4
        for stage in (self.layer2, self.layer3, self.layer4):
            if stage[0].conv2.stride != (1, 1):
                stage[0].conv2 = HalvingConvolution.of(stage[0].conv2)
        widths = {"layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048}
        self.layer_channels = {"stem": 64, **widths}
        self.inner_channels = {
            f"{name}.unit{unit}": width for name, width in widths.items() for unit in range(1, len(getattr(self, name)))
        }

    def walks(self) -> Mapping[str, Walk]:
        layers = ("layer1", "layer2", "layer3", "layer4")
        return {"stem": self._stem, **{name: partial(self._layer, name) for name in layers}}

    def _stem(self, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        yield "stem", self.relu(self.bn1(self.conv1(images)))

    def _layer(self, name: str, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        last = self.maxpool(images) if name == "layer1" else images
        blocks = self.get_submodule(name)
        assert isinstance(blocks, nn.Sequential)
        for unit, block in enumerate(blocks, start=1):
            last = block(last)
            yield (f"{name}.unit{unit}" if unit < len(blocks) else name), last

    @property
    def attention_points(self) -> tuple[AttentionPoint, ...]:
        # Over the last block of each layer, as in the code of MTAN's authors.
        return tuple(
            AttentionPoint(f"{name}.unit{blocks}", name)
            for name, blocks in (("layer1", 2), ("layer2", 3), ("layer3", 5), ("layer4", 2))
        )

    @property
    def unit_layers(self) -> tuple[str, ...]:
        return ("layer4.unit1", "layer4.unit2", "layer4")

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # `within_stage`: the first and the last block of each stage, since a first block's inner maps differ in size;
        # of the four stages the last three, since target networks have three pairs.
        return {
            "across_stage": (("layer1", "layer2"), ("layer2", "layer3"), ("layer3", "layer4")),
            "within_stage": tuple((f"{name}.unit1", name) for name in ("layer2", "layer3", "layer4")),
        }
