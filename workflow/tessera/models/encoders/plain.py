"""Encoders without shortcuts, from torchvision's definitions: AlexNet and VGG."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import ClassVar

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models import vgg

from tessera.models.encoders.base import AttentionPoint, Kept, StagedEncoder, Walk, pick, walk
from tessera.models.encoders.options import VGG_BLOCKS, AlexNetOptions, VGG16Options, VGGOptions

POOLED = ".pooled"
# Of VGG: how many kernels the convolutions of each block have.
WIDTHS = (64, 128, 256, 512, 512)


class PlainEncoder(StagedEncoder):
    """The `features` of a torchvision model: convolutions with ReLU, and max pooling after each block of them.

    A block that is not pooled has an `nn.Identity` in the pooling layer's place, and ends with its last ReLU. A pooling
    layer computes what torchvision's does wherever its window fits into the map, and passes a smaller map on
    as it is, so that tiles of small images reach the end.

    Args:
        features: Convolutions, batch norms, ReLU and max pooling (or its place), which comes last.
        names: Of each map after a ReLU and after a pooling layer, in their order; those of pooling start with `pool`.
        num_units: How many convolutions of the last block are its units (`unit_layers`).

    Shape:
        images: (N, 3, H, W).
        returns: one map after each convolution's ReLU, the last of them z, or z is that map pooled.
    """

    def __init__(self, features: nn.Sequential, names: Sequence[str], num_units: int) -> None:
        super().__init__()
        self.features = features
        points = [i for i, module in enumerate(features) if isinstance(module, nn.ReLU | nn.MaxPool2d)]
        self._names = dict(zip(points, names, strict=True))
        channels: dict[str, int] = {}
        block_last, before_pool, convolution, width = [], [], "", 0
        self._ends: list[int] = []
        for index, module in enumerate(features):
            if isinstance(module, nn.Conv2d):
                convolution, width = f"features.{index}", module.out_channels
            elif isinstance(module, nn.MaxPool2d | nn.Identity):
                pooled = isinstance(module, nn.MaxPool2d)
                self._ends.append(index if pooled else index - 1)
                block_last.append(convolution)
                before_pool += [convolution] if pooled else []
            if index in self._names:
                channels[self._names[index]] = width
        convolutions, z = [name for name in names if not name.startswith("pool")], names[-1]
        self.layer_channels = {name: channels[name] for name in (*convolutions, z)}
        self._pools_z = z not in convolutions
        units = convolutions[-num_units:-1]  # the last one, pooled where the others are, is z
        self._unit_layers = (*(unit + POOLED if self._pools_z else unit for unit in units), z)
        self.inner_channels = {name: channels[name] for name in names if name not in self.layer_channels} | {
            unit: channels[unit.removesuffix(POOLED)] for unit in self._unit_layers if unit.endswith(POOLED)
        }
        # z is pooled in the end, if only by a classifier.
        before_pool += [] if self._pools_z else [convolution]
        self.fusion_convolutions = {"conv_before_pool": tuple(before_pool), "stage_last": tuple(block_last)}

    def walks(self) -> Mapping[str, Walk]:
        return self._walks(ceil=False)

    def covering_maps(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        return pick(walk(self._walks(ceil=True), images), names)

    @property
    def attention_points(self) -> tuple[AttentionPoint, ...]:
        # The last block as it is pooled, since its last map is z.
        *blocks, _ = self.stage_pairs["within_stage"]
        units = self._unit_layers
        return (*(AttentionPoint(*pair) for pair in blocks), AttentionPoint(units[0], units[-1]))

    @property
    def last_unpooled(self) -> str:
        return list(self.layer_channels)[-2 if self._pools_z else -1]

    @property
    def unit_layers(self) -> tuple[str, ...]:
        return self._unit_layers

    def _walks(self, ceil: bool) -> dict[str, Walk]:
        """A stage ends with its block."""
        starts = [0, *(end + 1 for end in self._ends)]
        return {
            self._names[end]: partial(self._walk, range(start, end + 1), ceil)
            for start, end in zip(starts, self._ends, strict=False)
        }

    def _walk(self, indices: range, ceil: bool, images: Tensor, kept: Kept) -> Iterator[tuple[str, Tensor]]:
        last = images
        for index in indices:
            module = self.features[index]
            last = _pool(module, last, ceil) if isinstance(module, nn.MaxPool2d) else module(last)
            name = self._names.get(index)
            if name is None:
                continue
            yield name, last
            if name + POOLED in self._unit_layers:
                pooling = self.features[-1]
                assert isinstance(pooling, nn.MaxPool2d)
                yield name + POOLED, _pool(pooling, last, ceil)


class AlexNet(PlainEncoder):
    """Five convolutions, of which the first, the second and the last are pooled 3x3 with stride 2.

    Source: Krizhevsky, Sutskever & Hinton, NeurIPS 2012. The definition is torchvision's, after Krizhevsky 2014,
    arXiv:1404.5997: 64-192-384-256-256 kernels in one column and no response normalisation, where the paper of 2012 has
    96-256-384-384-256 kernels in two columns. Without the classifier; weights start and are named as in torchvision:
    features.0, …

    Args:
        options: What the study set. The stride of the first convolution changes no weight's shape.

    Shape:
        images: (N, 3, H, W), H and W at least 7.
        returns: conv1 (N, 64, h, w), conv2 (N, 192, …), conv3 (N, 384, …), conv4 and conv5 (N, 256, …), pool5 = z: at
            224 px 6x6, at 64 px 1x1 (stride 2: 2x2, 1: 6x6), at 32 px 1x1 (2: 2x2, 1: 2x2).
    """

    NAMES: ClassVar[tuple[str, ...]] = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")

    def __init__(self, options: AlexNetOptions) -> None:
        features = fresh_features(lambda: torchvision.models.alexnet(weights=None).features)
        first = features[0]
        assert isinstance(first, nn.Conv2d)
        first.stride = (options.stride, options.stride)
        super().__init__(features, self.NAMES, num_units=3)
        self.options = options

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # `within_stage`: neighbours of equal size, the pairs of the reduced AlexNet.
        return {
            "across_stage": (("conv1", "conv2"), ("conv2", "conv4"), ("conv4", "conv5")),
            "within_stage": (("pool1", "conv2"), ("pool2", "conv3"), ("conv4", "conv5")),
        }


class _VGG(PlainEncoder):
    """Five blocks of 3x3 convolutions with ReLU.

    Args:
        blocks: Convolutions of each.
        share: Every convolution has one kernel of so many.
        batch_norm: One after each convolution.
        pools: How many of the blocks are pooled.
    """

    def __init__(self, blocks: Sequence[int], share: int, batch_norm: bool, pools: int) -> None:
        plan: list[int | str] = []  # "M" is a pooling layer
        for width, convolutions in zip(WIDTHS, blocks, strict=True):
            plan += [*[width // share] * convolutions, "M"]
        features = fresh_features(lambda: vgg.make_layers(plan, batch_norm))
        for module in features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        pooling = [index for index, module in enumerate(features) if isinstance(module, nn.MaxPool2d)]
        for index in pooling[pools:]:
            features[index] = nn.Identity()
        names = []
        for block, convolutions in enumerate(blocks, start=1):
            names += [f"conv{block}_{i}" for i in range(1, convolutions + 1)]
            names += [f"pool{block}"] if block <= pools else []
        super().__init__(features, names, num_units=blocks[-1])
        self.blocks, self.pools = tuple(blocks), pools

    @property
    def attention_points(self) -> tuple[AttentionPoint, ...]:
        blocks = [AttentionPoint(f"conv{block}_1", f"conv{block}_{n}") for block, n in enumerate(self.blocks, start=1)]
        return (*blocks[:-1], super().attention_points[-1])

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        # `within_stage`: of the five blocks the last three, since target networks have three pairs. A block of one
        # convolution has what it reads for its first map.
        last = [f"conv{block}_{n}" for block, n in enumerate(self.blocks, start=1)]
        first = [
            f"conv{block}_1" if n > 1 else (f"pool{block - 1}" if block - 1 <= self.pools else last[block - 2])
            for block, n in enumerate(self.blocks, start=1)
        ]
        return {
            "across_stage": tuple(itertools.pairwise(last[1:])),
            "within_stage": tuple(zip(first[2:], last[2:], strict=True)),
        }


class VGG16(_VGG):
    """Thirteen 3x3 convolutions in five blocks of 64-128-256-512-512 kernels, each pooled 2x2.

    Source: Simonyan & Zisserman, ICLR 2015, configuration D, arXiv:1409.1556. The definition is torchvision's `vgg16`,
    or `vgg16_bn`. Without the classifier; weights start (He et al. 2015, by outputs) and are named as in torchvision:
    features.0, …

    Args:
        options: What the study set. A `width` of less than `full` is ours: every convolution has a half or a quarter of
            the kernels, and no weight fits into torchvision's network.

    Shape:
        images: (N, 3, H, W).
        returns: conv1_1, conv1_2 (N, 64, H, W), …, conv5_3 (N, 512, H/16, W/16), pool5 = z (N, 512, H/32, W/32), the
            last two at least 1x1; less channels where `width` is less.
    """

    SHARES: ClassVar[dict[str, int]] = {"full": 1, "half": 2, "quarter": 4}

    def __init__(self, options: VGG16Options) -> None:
        super().__init__(VGG_BLOCKS[16], self.SHARES[options.width], options.batch_norm, pools=5)
        self.options = options


class VGG(_VGG):
    """Five blocks of 64-128-256-512-512 kernels of 3x3, each with batch normalisation, the first of them pooled 2x2.

    Source: Simonyan & Zisserman, ICLR 2015, configurations A, B, D and E, arXiv:1409.1556, with batch norms, and for
    small images fewer pooling layers, as in the code of Tian, Krishnan & Isola, ICLR 2020, arXiv:1910.10699, which
    also has the one of 8 layers. Without the classifier: theirs is one linear layer on the mean of z. Weights start (He
    et al. 2015, by outputs) and are named as in torchvision's `vgg13_bn`, whatever `pools` says: features.0, …

    Args:
        options: What the study set.

    Shape:
        images: (N, 3, H, W).
        returns: conv1_1 (N, 64, H, W), … after each ReLU; z is conv5_n (N, 512, H/8, W/8) with three pooled blocks,
            (N, 512, H/16, W/16) with four; pool5 (N, 512, H/32, W/32) with five.
    """

    def __init__(self, options: VGGOptions) -> None:
        super().__init__(VGG_BLOCKS[options.depth], 1, True, options.pools)
        self.options = options

    def names_in_files(self, name: str) -> tuple[str, ...]:
        return self._names_of_crd[name], name

    @cached_property
    def _names_of_crd(self) -> dict[str, str]:
        """The code of CRD has a module for each block; a pooling layer, or its place, ends ours."""
        names, block, first = dict[str, str](), 0, 0
        for index, module in enumerate(self.features):
            names |= {f"features.{index}.{of}": f"block{block}.{index - first}.{of}" for of in module.state_dict()}
            if isinstance(module, nn.MaxPool2d | nn.Identity):
                block, first = block + 1, index + 1
        return names


def fresh_features(build: Callable[[], nn.Module]) -> nn.Sequential:
    """The layers that `build` makes, each with its own fresh weights."""
    # On the meta device what we do not keep of them, a classifier of ten times the weights, costs neither time nor
    # memory.
    with torch.device("meta"):
        features = build()
    assert isinstance(features, nn.Sequential)
    features.to_empty(device=torch.get_default_device())
    for module in features:
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.reset_parameters()
    return features


def _pool(pooling: nn.MaxPool2d, maps: Tensor, ceil: bool) -> Tensor:
    window = pooling.kernel_size
    assert isinstance(window, int)
    if min(maps.shape[-2:]) < window:
        return maps
    if ceil:
        return F.max_pool2d(maps, window, pooling.stride, pooling.padding, ceil_mode=True)
    pooled: Tensor = pooling(maps)
    return pooled
