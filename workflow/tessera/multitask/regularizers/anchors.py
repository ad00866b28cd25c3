"""What the features' distribution is compared with (v_p of the paper, which leaves it open; docs/methods.md 1.4)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from tessera.models.encoders.base import Encoder
from tessera.multitask.batch_norm import use_batch_statistics
from tessera.multitask.regularizers.options import DivergenceOptions


class Anchor(nn.Module, ABC):
    """Gives the distribution that the features are held to.

    Args:
        options: What the study set.
        num_features: Channels C.
    """

    active = True

    def __init__(self, options: DivergenceOptions, num_features: int) -> None:
        super().__init__()

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Told the weights with which an epoch begins; `epoch` counts from 0."""

    @abstractmethod
    def forward(self, shares: Tensor, distribution_by: Callable[[Encoder], Tensor]) -> Tensor:
        """The anchor of a batch, without gradient.

        Args:
            shares: (M, C) float32, the features' distribution.
            distribution_by: Gives the same by another encoder.

        Shape:
            returns: (M, C) or (C,) float32.
        """


class PreviousEncoder(Anchor):
    """The same inputs through the encoder with which the epoch began: the divergence starts at zero in each turn
    from those weights, and grows with drift. Inactive in the first epoch, where it would hold to random weights."""

    def __init__(self, options: DivergenceOptions, num_features: int) -> None:
        super().__init__(options, num_features)
        self.active = False
        self._encoder: list[Encoder] = []  # in a list, so that it is no submodule: neither trained nor saved

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        self.active = epoch > 0
        if self.active:
            if not self._encoder:
                self._encoder = [deepcopy(encoder).requires_grad_(False)]
                use_batch_statistics(self._encoder[0])
            self._encoder[0].load_state_dict(encoder.state_dict())

    def forward(self, shares: Tensor, distribution_by: Callable[[Encoder], Tensor]) -> Tensor:
        with torch.no_grad():
            return distribution_by(self._encoder[0])


class RunningMean(Anchor):
    """Running mean, over the steps of all tasks, of the batch's mean distribution; it starts at that of the first."""

    mean: Tensor
    started: Tensor

    def __init__(self, options: DivergenceOptions, num_features: int) -> None:
        super().__init__(options, num_features)
        self.decay = options.decay
        self.register_buffer("mean", torch.full((num_features,), 1 / num_features))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, shares: Tensor, distribution_by: Callable[[Encoder], Tensor]) -> Tensor:
        batch = shares.detach().mean(dim=0)
        anchor = torch.where(self.started, self.mean, batch)
        self.mean.copy_(self.decay * anchor + (1 - self.decay) * batch)
        self.started.fill_(True)
        return anchor


class UniformPrior(Anchor):
    """Every channel alike: the divergence is then one of entropy, so a weight of 0.1 or less suits it."""

    prior: Tensor

    def __init__(self, options: DivergenceOptions, num_features: int) -> None:
        super().__init__(options, num_features)
        self.register_buffer("prior", torch.full((num_features,), 1 / num_features))

    def forward(self, shares: Tensor, distribution_by: Callable[[Encoder], Tensor]) -> Tensor:
        return self.prior


class GaussianPrior(Anchor):
    """Softmax of one draw from a normal distribution, the same for the whole training and every trial."""

    prior: Tensor

    def __init__(self, options: DivergenceOptions, num_features: int) -> None:
        super().__init__(options, num_features)
        draw = torch.randn(num_features, generator=torch.Generator().manual_seed(options.seed))
        self.register_buffer("prior", draw.softmax(dim=0))

    def forward(self, shares: Tensor, distribution_by: Callable[[Encoder], Tensor]) -> Tensor:
        return self.prior


ANCHORS: dict[str, type[Anchor]] = {
    "previous": PreviousEncoder,
    "running_mean": RunningMean,
    "prior_uniform": UniformPrior,
    "prior_gaussian": GaussianPrior,
}
