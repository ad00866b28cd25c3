"""The loss of a transfer method on a batch of a test's own, as a training computes it."""

import torch
from torch import Tensor

from tessera.models.networks.base import TargetNetwork
from tessera.transfer.images import Views
from tessera.transfer.method import TransferMethod
from tessera.transfer.seen import see
from tessera.transfer.teacher import Teacher


def loss_of(
    method: TransferMethod, views: Views, labels: Tensor, network: TargetNetwork, teacher: Teacher | None
) -> tuple[Tensor, Tensor]:
    """The loss, (), and the student's logits (N, K); the images are the first of the target's."""
    seen = see(views, labels, torch.arange(len(labels)), network, teacher, method.reads)
    return method.loss(seen, network), seen.logits
