"""The maps that SSD reads: some of the encoder's, and those of convolutions that go on to a single cell."""

import copy
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder

FIRST_STRIDE, LAST_STRIDE = 8, 16  # conv4_3 and conv5_3 of VGG-16
WIDEST = 512  # channels of VGG-16's last block; added convolutions follow the encoder's width up to here
LARGEST_DILATION = 6
START_OF_SCALE = 20.0
PROBE_PX = 1024  # large enough that borders do not blur a map's stride


@dataclass(frozen=True)
class Grid:
    """Form of a map.

    Attributes:
        channels: Of the map.
        side: Height and width, cells.
        stride: How often the image was halved on the way: 1, 2, 4, …
    """

    channels: int
    side: int
    stride: int


class SSDMaps(nn.Module):
    """From an encoder's maps to those that find objects, from the finest to one cell.

    Source: Liu et al., ECCV 2016, section 3.1, arXiv:1512.02325; on VGG-16 at 300 px it is torchvision's
    `SSDFeatureExtractorVGG`, weight by weight. The first map is the encoder's deepest at stride 8, each position scaled
    to length 1 over its channels and multiplied by a learned factor a channel, 20 at first. The second is made of the
    encoder's deepest at stride 16, before pooling: max pooling 3x3 with stride 1, conv6 (3x3, dilated) and conv7 (1x1),
    twice as wide. Each further one is a 1x1 and a 3x3 convolution on, from 5 and from 3 cells a side without padding,
    else with stride 2. On VGG-16 they have 512, 1024, 512, 256, 256 and 256 channels.

    The rules for other encoders are ours. One that ends before stride 16 is followed by 3x3 convolutions of stride 2,
    each twice as wide as what it reads, up to 512. One with maps of stride 32 or more shows these too, and there is
    neither conv6 nor conv7: its own last stages take their place. Widths follow the map before conv6, or the encoder's
    last, as VGG-16's follow 512, and no wider. The dilation is a third of the map's cells a side, 6 at most, so that
    no kernel looks past a small map. Where the encoder has batch normalisation, so have the convolutions here, instead
    of a bias; but not a map of one cell, which is too little for statistics. Weights start as Glorot & Bengio 2010
    (uniform), biases at zero.

    Args:
        encoder: Read for the names and forms of its maps; not kept.
        image_size: Height and width of the input, px.

    Attributes:
        names: The encoder's layers that `forward` needs, finest first.
        grids: Form of each map that finds objects, finest first.

    Shape:
        maps: name to (N, C, h, w), as `Encoder.covering_maps` returns them.
        returns: one (N, channels, side, side) a grid, the first of them float32.

    Raises:
        StudyError: If the encoder has no map of a stride that it must have.
    """

    def __init__(self, encoder: Encoder, image_size: int) -> None:
        super().__init__()
        deepest = _grids(encoder, image_size)
        last = max(deepest)
        strides = [stride for stride in (2**k for k in range(32)) if FIRST_STRIDE <= stride <= last] or [last]
        missing = [stride for stride in strides if stride not in deepest]
        if missing:
            raise StudyError(
                f"network `ssd300` reads maps of stride {', '.join(map(str, strides))}, but the encoder has none of "
                f"stride {missing[0]}, only of {', '.join(map(str, deepest))}. Choose another encoder."
            )
        self.names = tuple(deepest[stride][0] for stride in strides)
        # A map before the first stride, and one that conv6 reads, only leads to the next.
        shown = [s for s in strides if s >= FIRST_STRIDE and (s != LAST_STRIDE or last > LAST_STRIDE)]
        self._shown_layers = tuple(deepest[stride][0] for stride in shown)
        self.grids = [deepest[stride][1] for stride in shown]

        norm = any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
        self.blocks, self._shows = nn.ModuleList(), list[bool]()
        grid = deepest[last][1]
        while grid.stride < LAST_STRIDE:
            block, grid = _convolution(grid, min(WIDEST, 2 * grid.channels), norm, stride=2, padding=1)
            self._add(block, grid, shown=grid.stride == FIRST_STRIDE)
        width = min(WIDEST, grid.channels)
        if grid.stride == LAST_STRIDE:
            block, grid = _conv6_and_conv7(grid, 2 * width, norm)
            self._add(block, grid)
        for channels in itertools.chain([width], itertools.repeat(max(1, width // 2))):
            if grid.side == 1:
                break
            block, grid = _extra(grid, channels, norm)
            self._add(block, grid)
        self.scale = nn.Parameter(torch.full((self.grids[0].channels,), START_OF_SCALE))

    def forward(self, maps: Mapping[str, Tensor]) -> list[Tensor]:
        found, last = [maps[name] for name in self._shown_layers], maps[self.names[-1]]
        for block, shows in zip(self.blocks, self._shows, strict=True):
            last = block(last)
            if shows:
                found.append(last)
        # In float32: a sum of squares over the channels wants more than bfloat16's eight bits.
        found[0] = self.scale.view(1, -1, 1, 1) * F.normalize(found[0].float())
        return found

    def _add(self, block: list[nn.Module], grid: Grid, shown: bool = True) -> None:
        self.blocks.append(nn.Sequential(*block))
        self._shows.append(shown)
        if shown:
            self.grids.append(grid)


def _grids(encoder: Encoder, image_size: int) -> dict[int, tuple[str, Grid]]:
    """The encoder's deepest layer of each stride and the form of its map, by stride, from the input on."""
    names = list(encoder.layer_channels)
    names = names[: names.index(encoder.last_unpooled) + 1]
    # On the meta device: forms without numbers.
    encoder = copy.deepcopy(encoder).to("meta").eval()
    with torch.no_grad():
        sides, coarse = (
            [m.shape[-1] for m in encoder.covering_maps(torch.empty(1, 3, px, px, device="meta"), names).values()]
            for px in (image_size, PROBE_PX)
        )
    found = {}
    for name, side, of_probe in zip(names, sides, coarse, strict=True):
        stride = 2 ** round(math.log2(PROBE_PX / of_probe))
        found[stride] = (name, Grid(encoder.layer_channels[name], side, stride))
    return found


def _convolution(
    grid: Grid, channels: int, norm: bool, kernel: int = 3, stride: int = 1, padding: int = 0, dilation: int = 1
) -> tuple[list[nn.Module], Grid]:
    side = (grid.side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    norm = norm and side > 1
    convolution = nn.Conv2d(grid.channels, channels, kernel, stride, padding, dilation, bias=not norm)
    nn.init.xavier_uniform_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    layers = [convolution, *([nn.BatchNorm2d(channels)] if norm else []), nn.ReLU(inplace=True)]
    return layers, Grid(channels, side, grid.stride * stride)


def _conv6_and_conv7(grid: Grid, channels: int, norm: bool) -> tuple[list[nn.Module], Grid]:
    dilation = max(1, min(LARGEST_DILATION, grid.side // 3))
    conv6, grid = _convolution(grid, channels, norm, padding=dilation, dilation=dilation)
    conv7, grid = _convolution(grid, channels, norm, kernel=1)
    return [nn.MaxPool2d(3, stride=1, padding=1), *conv6, *conv7], grid


def _extra(grid: Grid, channels: int, norm: bool) -> tuple[list[nn.Module], Grid]:
    halves = grid.side not in (3, 5)
    narrow, grid = _convolution(grid, max(1, channels // 2), norm, kernel=1)
    wide, grid = _convolution(grid, channels, norm, stride=1 + halves, padding=int(halves))
    return [*narrow, *wide], grid
