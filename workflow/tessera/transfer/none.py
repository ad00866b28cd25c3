"""No transfer: the baseline that every method is compared with."""

import torch.nn.functional as F
from torch import Tensor

from tessera.models.networks.base import TargetNetwork
from tessera.transfer.images import Views
from tessera.transfer.method import TransferMethod


class NoTransfer(TransferMethod):
    """Target only: cross-entropy with the labels, `CE(y, q)`."""

    def loss(self, views: Views, labels: Tensor, network: TargetNetwork) -> tuple[Tensor, Tensor]:
        logits = network(views.inputs).float()
        return F.cross_entropy(logits, labels), logits
