"""MTAN: one encoder for all tasks, and for each of them attention to its maps, block by block."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from tessera.models.encoders.base import AttentionPoint, Encoder
from tessera.multitask.sharing.base import Sharing
from tessera.multitask.sharing.options import MtanSharingOptions
from tessera.multitask.task_network import head_key


class MtanSharing(Sharing):
    """a_j = sigmoid(BN(h(ReLU(BN(g([u_j; f(â_{j-1})])))))) and â_j = a_j * p_j, of each task and block j.

    Source: Liu, Johns & Davison, CVPR 2019, section 3.2, arXiv:1803.10704, as their code has it: u_j and p_j are the
    first and the last map of a block (`Encoder.attention_points`), g and h convolutions of 1x1, as wide as p_j. f, a
    3x3 convolution with batch norm and ReLU to the channels of p_j, carries features from block to block: max-pooled
    after it where maps get smaller, enlarged bilinearly before it where they get larger. g and h are each task's own, f
    is all tasks' (`transitions`). A head reads the last â. With `residual` â_j = (a_j + 1) * p_j (Liu 2018, section
    2.2.3). In encoders of wide maps g narrows to a quarter, and f is a bottleneck block, as their ResNet-50 has it
    (`Encoder.attention_reduction`).

    The encoder that is handed on is the trunk, without attention.

    Shape:
        features: z under the task's last mask, (M, C, h, w).
    """

    options: MtanSharingOptions

    def __init__(
        self, options: MtanSharingOptions, encoder: Encoder, tasks: Sequence[str], build_encoder: Callable[[], Encoder]
    ) -> None:
        super().__init__(options, encoder, tasks, build_encoder)
        self.points, reduction = encoder.attention_points, encoder.attention_reduction
        channels = {**encoder.inner_channels, **encoder.layer_channels}
        # Of each point but the first: names of the maps whose sizes its task features take in turn, the last its own u.
        self.ways = [(*point.through, point.first) for point in self.points[1:]]

        def attention() -> nn.ModuleList:
            carried = [0, *(channels[point.last] for point in self.points[1:])]
            return nn.ModuleList(
                _attention(channels[point.first] + more, channels[point.last], options.kernel, reduction)
                for point, more in zip(self.points, carried, strict=True)
            )

        def transitions() -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleList(_transition(channels[a], channels[b], reduction) for a, b in pairwise(names))
                for names in [(a.last, *b.through, b.last) for a, b in pairwise(self.points)]
            )

        keys = [head_key(task) for task in self.tasks]
        self.attention = nn.ModuleDict({key: attention() for key in keys})
        one_for_all = options.transitions == "shared"
        self.transitions = nn.ModuleDict({key: transitions() for key in (["all"] if one_for_all else keys)})

    def maps(self, encoder: Encoder, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        return encoder.maps(inputs, dict.fromkeys(name for point in self.points for name in _names(point)))

    def features(self, task: str, maps: Mapping[str, Tensor]) -> Tensor:
        key = head_key(task)
        transitions: Any = self.transitions["all" if self.options.transitions == "shared" else key]
        masks: Any = self.attention[key]
        attended: Tensor | None = None
        for place, (point, mask) in enumerate(zip(self.points, masks, strict=True)):
            first, last = maps[point.first], maps[point.last]
            if attended is not None:
                for name, convolution in zip(self.ways[place - 1], transitions[place - 1], strict=True):
                    attended = _carried(attended, convolution, maps[name].shape[2:])
                first = torch.cat([first, attended], dim=1)
            share = mask(first)
            attended = (share + 1) * last if self.options.residual else share * last
        assert attended is not None
        return attended

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.transitions.parameters()) if self.options.transitions == "shared" else []


def _names(point: AttentionPoint) -> tuple[str, ...]:
    return (*point.through, point.first, point.last)


def _attention(inputs: int, outputs: int, kernel: int, reduction: int) -> nn.Sequential:
    """h after g."""
    inner = outputs // reduction
    return nn.Sequential(
        nn.Conv2d(inputs, inner, kernel, padding=kernel // 2), nn.BatchNorm2d(inner), nn.ReLU(inplace=True),
        nn.Conv2d(inner, outputs, 1), nn.BatchNorm2d(outputs), nn.Sigmoid(),
    )  # fmt: skip


def _transition(inputs: int, outputs: int, reduction: int) -> nn.Module:
    """f; without a shortcut it ends before its ReLU."""
    if reduction == 1:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs))
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    block: nn.Module = Bottleneck(inputs, outputs // Bottleneck.expansion, downsample=shortcut)
    return block


def _carried(features: Tensor, convolution: nn.Module, size: torch.Size) -> Tensor:
    """The features, through f, in another size."""
    height, width = features.shape[2:]
    if size[0] > height or size[1] > width:
        features = F.interpolate(features, size=size, mode="bilinear", align_corners=True)
    made: Tensor = convolution(features)
    if made.shape[2:] != size:
        whole = height % size[0] == width % size[1] == 0
        window = (height // size[0], width // size[1])
        made = F.max_pool2d(made, window) if whole else F.adaptive_max_pool2d(made, size)
    # Maxima of what a ReLU gives are what it gives of maxima, of which there are fewer.
    return made if isinstance(convolution, Bottleneck) else made.relu_()
