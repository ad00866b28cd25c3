"""What every transfer method is."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from tessera.data.store import Dataset, Split
from tessera.models.encoders.base import Encoder, LayeredNetwork
from tessera.training import Compute


class Teacher:
    """The source encoder, frozen, in eval mode, with the statistics of the images that it was trained on.

    Attributes:
        encoder: On the device, batch-norm statistics re-estimated.
        mean, std: Input normalisation of the source, in units of [0, 1].
    """

    def __init__(self, encoder: Encoder, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        self.encoder = encoder.eval().requires_grad_(False)
        self.mean, self.std = mean, std

    def normalize(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [0, 1] to the encoder's input."""
        mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std


class TransferMethod(nn.Module, ABC):
    """How knowledge reaches the target network. A module, since some methods have trainable adapters.

    Args:
        options: What the study set.
    """

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    def build_network(
        self, network: LayeredNetwork | None, teacher: Teacher | None, num_classes: int
    ) -> LayeredNetwork:
        """The network that is trained; the target network as it is, unless the method is one with the encoder."""
        assert network is not None
        return network

    def parameter_groups(self, network: LayeredNetwork) -> list[tuple[list[nn.Module], float]]:
        """(modules, factor on the learning rate) pairs for the stage with labels."""
        return [([network, self], 1.0)]

    @abstractmethod
    def fit_teacher(
        self,
        network: LayeredNetwork,
        teacher: Teacher | None,
        dataset: Dataset,
        labeled: Split,
        compute: Compute,
        trial: int,
    ) -> dict[str, float]:
        """What must be learned or measured of the teacher before training; returns figures to report."""

    def first_stage_loss(self, pixels: Tensor, network: LayeredNetwork) -> Tensor:
        """Loss of the first stage, from the source alone; only two-stage methods have one. (), float32."""
        raise NotImplementedError

    @abstractmethod
    def loss(self, pixels: Tensor, labels: Tensor, network: LayeredNetwork) -> Tensor:
        """Loss of the stage with labels, (), float32.

        Shape:
            pixels: (N, 3, H, W) float32 in [0, 1], augmented: the same for teacher and student.
            labels: (N,) int64.
        """
