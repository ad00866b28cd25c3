"""ResNet-18 and ResNet-50, from torchvision's definitions."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torchvision
from torch import Tensor, nn

from tessera.models.encoders.base import AttentionPoint, Kept, StagedEncoder, Walk
from tessera.models.encoders.halving import guard_halving
from tessera.models.encoders.options import ResNet18Options, ResNet50Options

LAYERS = ("layer1", "layer2", "layer3", "layer4")


class TorchvisionResNet(StagedEncoder):
    """A stem and four layers of residual blocks, from torchvision's definition, which says how weights start.

    Args:
        whole: torchvision's network; its classifier is left out.
    """

    def __init__(self, whole: torchvision.models.ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4
        self.layer_channels, self.inner_channels, last = {"stem": 64}, {}, ["conv1"]
        for name in LAYERS:
            blocks = self.get_submodule(name)
            assert isinstance(blocks, nn.Sequential)
            convolutions = {path: module for path, module in blocks[-1].named_children() if path.startswith("conv")}
            path, convolution = list(convolutions.items())[-1]
            assert isinstance(convolution, nn.Conv2d)
            self.layer_channels[name] = convolution.out_channels
            last.append(f"{name}.{len(blocks) - 1}.{path}")
            self.inner_channels |= {f"{name}.unit{unit}": convolution.out_channels for unit in range(1, len(blocks))}
            guard_halving(blocks)
        # By strides, as in the CIFAR networks: the convolutions before each change of resolution are the stages' last.
        self.fusion_convolutions = {"conv_before_pool": tuple(last), "stage_last": tuple(last)}

    def walks(self) -> Mapping[str, Walk]:
        return {"stem": self._stem, **{name: partial(self._layer, name) for name in LAYERS}}

    def _stem(self, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        yield "stem", self.relu(self.bn1(self.conv1(images)))

    def _layer(self, name: str, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        last = self.maxpool(images) if name == "layer1" else images
        blocks = self.get_submodule(name)
        assert isinstance(blocks, nn.Sequential)
        for unit, block in enumerate(blocks, start=1):
            last = block(last)
            yield (f"{name}.unit{unit}" if unit < len(blocks) else name), last

    def _units(self, layer: str) -> tuple[str, ...]:
        return (*(name for name in self.inner_channels if name.startswith(f"{layer}.")), layer)

    @property
    def attention_points(self) -> tuple[AttentionPoint, ...]:
        # Over the last block of each layer, as in the code of MTAN's authors.
        return tuple(AttentionPoint(self._units(name)[-2], name) for name in LAYERS)

    @property
    def unit_layers(self) -> tuple[str, ...]:
        return self._units("layer4")

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # `within_stage`: the first and the last block of each stage, since a first block's inner maps differ in size;
        # of the four stages the last three, since target networks have three pairs.
        return {
            "across_stage": (("layer1", "layer2"), ("layer2", "layer3"), ("layer3", "layer4")),
            "within_stage": tuple((f"{name}.unit1", name) for name in ("layer2", "layer3", "layer4")),
        }


class ResNet50(TorchvisionResNet):
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

    def __init__(self, options: ResNet50Options) -> None:
        super().__init__(
            torchvision.models.resnet50(
                weights=None, replace_stride_with_dilation=[False, options.dilate, options.dilate]
            )
        )
        self.options = options
        self.conv1.stride = (options.stem_stride, options.stem_stride)
        if not options.stem_pool:
            self.maxpool = nn.Identity()


class ResNet18(TorchvisionResNet):
    """A stem of 64 kernels and four stages of two basic blocks, widths 64-128-256-512.

    Source: He, Zhang, Ren & Sun, CVPR 2016, table 1, arXiv:1512.03385; the definition is torchvision's. The stem of 3x3
    with stride 1 and no pooling is the one in use for CIFAR, as of Chen et al., ICML 2020, appendix B.9,
    arXiv:2002.05709. Without the classifier; weights start (He et al. 2015, by outputs) and are named as in
    torchvision: conv1, bn1, layer1.0.conv1, …

    Args:
        options: What the study set.

    Shape:
        images: (N, 3, H, W).
        returns: with the stem of 3x3 stem and layer1 (N, 64, H, W), layer2 (N, 128, H/2, W/2), layer3
            (N, 256, H/4, W/4), layer4 = z (N, 512, H/8, W/8), rounded up; with that of 7x7 stem is a half and the
            others a quarter as high and wide.
    """

    def __init__(self, options: ResNet18Options) -> None:
        super().__init__(torchvision.models.resnet18(weights=None))
        self.options = options
        if options.stem == "3x3":
            self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.maxpool = nn.Identity()
