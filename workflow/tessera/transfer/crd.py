"""Contrastive representation distillation: an image's two embeddings belong together, those of two images do not."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def nce_loss(positive: Tensor, negatives: Tensor, images: int) -> Tensor:
    """Noise contrastive estimation: `-log h(x) - sum_j log(1 - h(x_j))`, a mean over images.

    `h(x) = e^x / (e^x + N / M)` is the probability that a pair is one image's, N negatives being drawn for it.

    Source: Tian, Krishnan & Isola, ICLR 2020, arXiv:1910.10699.

    Args:
        images: M, the number of images that are told apart.

    Shape:
        positive: (B,), log of the likeness of an image's two embeddings; negatives: (B, N), of two images'.
        returns: ().
    """
    noise = math.log(negatives.shape[1] / images)
    told = F.logsigmoid(positive - noise) + F.logsigmoid(noise - negatives).sum(dim=1)
    return -told.mean()


class Bank(nn.Module):
    """An embedding of every image, as a network gave it lately; and what another network's are compared with.

    Args:
        images: M.
        width: D.
        temperature: tau, by which cosines are divided.
        momentum: Part of the old embedding in the new one.
    """

    embeddings: Tensor
    log_partition: Tensor

    def __init__(self, images: int, width: int, temperature: float, momentum: float) -> None:
        super().__init__()
        self.temperature, self.momentum = temperature, momentum
        self.register_buffer("embeddings", (2 * torch.rand(images, width) - 1) * math.sqrt(3 / width))
        self.register_buffer("log_partition", torch.tensor(math.nan))  # not known before the first batch

    def contrast(self, anchors: Tensor, rows: Tensor, negatives: Tensor) -> Tensor:
        """The loss of anchors of the other network, which are to find their own image among the others.

        The partition constant Z is the first batch's mean of `e^(cos / tau)`, times M; then it stays.

        Shape:
            anchors: (B, D), of unit length.
            rows: (B,) int64: which images these are.
            negatives: (B, N) int64: which they are compared with.
            returns: ().
        """
        # All M cosines: rows of the bank would be N D numbers an image, these are M.
        scores = (anchors @ self.embeddings.T / self.temperature).gather(
            1, torch.cat([rows[:, None], negatives], dim=1)
        )
        images = len(self.embeddings)
        with torch.no_grad():
            found = scores.flatten().logsumexp(dim=0) - math.log(scores.numel()) + math.log(images)
            self.log_partition.copy_(torch.where(self.log_partition.isnan(), found, self.log_partition))
        scores = scores - self.log_partition
        return nce_loss(scores[:, 0], scores[:, 1:], images)

    @torch.no_grad()
    def renew(self, embeddings: Tensor, rows: Tensor) -> None:
        """Moves the images' embeddings towards new ones (B, D), and back to unit length."""
        moved = self.momentum * self.embeddings[rows] + (1 - self.momentum) * embeddings
        # Not in place: the step's gradient is still to be made of the embeddings as they are.
        self.embeddings = self.embeddings.index_copy(0, rows, F.normalize(moved, dim=1))
