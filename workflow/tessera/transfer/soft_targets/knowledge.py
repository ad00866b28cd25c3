"""Where the teacher's distribution comes from, when the source has no classes."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tessera.data.images import Images
from tessera.data.views import to_unit
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages, chunks
from tessera.transfer.options.soft import SoftTargetsOptions
from tessera.transfer.teacher import Teacher

CHUNK = 256


class Knowledge(nn.Module, ABC):
    """Logits from frozen features of the teacher, and the student's answer to them.

    Args:
        options: What the study set.
    """

    def __init__(self, options: SoftTargetsOptions) -> None:
        super().__init__()
        self.options = options

    @abstractmethod
    def fit(
        self, network: TargetNetwork, teacher: Teacher, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Learns the distribution; returns figures to report."""

    @abstractmethod
    def logits(self, features: Tensor) -> Tensor:
        """From the teacher's features (N, C) float32 to logits (N, M)."""

    @abstractmethod
    def answer(self, z: Tensor, logits: Tensor) -> Tensor:
        """The student's logits (N, M), from its last map (N, C', h, w) and its class logits (N, K)."""


def features_of(
    teacher: Teacher, images: Images, compute: Compute, view: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """The teacher's features of every image, or of a random view of each.

    Shape:
        images: (N, 3, H, W) uint8.
        returns: (N, C) float32, on the device.
    """
    found = []
    for part in chunks(images, CHUNK):
        pixels = to_unit(part if view is None else view(part)).contiguous(memory_format=torch.channels_last)
        with compute.autocast():
            found.append(teacher.features(pixels))
    return torch.cat(found)
