"""Contrastive representation distillation: an image's two embeddings belong together, those of two images do not."""

import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.errors import StudyError
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.training.randomness import seed_of
from tessera.transfer.images import TargetImages
from tessera.transfer.options.relations import CrdOptions
from tessera.transfer.seen import Seen
from tessera.transfer.teacher import Teacher
from tessera.transfer.terms import EmbeddingTerm
from tessera.transfer.vectors import unit

SHARE = 3  # one of so many images as a negative, or most of them are drawn again and again

log = logging.getLogger("tessera")


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
        images, drawn = len(self.embeddings), torch.cat([rows[:, None], negatives], dim=1)
        with torch.enable_grad():
            leaf = anchors.detach().requires_grad_()
            # All M cosines: the rows that were drawn would be N D numbers an image, these are M.
            scores = (leaf / self.temperature @ self.embeddings.T).gather(1, drawn)
            found = scores.detach().flatten().logsumexp(dim=0) - math.log(scores.numel()) + math.log(images)
            self.log_partition.copy_(torch.where(self.log_partition.isnan(), found, self.log_partition))
            scores = scores - self.log_partition
            loss = nce_loss(scores[:, 0], scores[:, 1:], images)
        # Made at once: so the bank can be renewed in place, and no copy of it is kept for the step's gradient.
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach() + (gradient * (anchors - leaf.detach())).sum()

    @torch.no_grad()
    def renew(self, embeddings: Tensor, rows: Tensor) -> None:
        """Moves the images' embeddings towards new ones (B, D), and back to unit length."""
        moved = self.momentum * self.embeddings[rows] + (1 - self.momentum) * embeddings
        self.embeddings.index_copy_(0, rows, F.normalize(moved, dim=1))


class Crd(EmbeddingTerm):
    """`CE + b (L_student + L_teacher)`: an embedding of each network finds its image in a bank of the other network's.

    Source: Tian, Krishnan & Isola 2020, with their constants: both embeddings by a linear layer to 128 numbers of unit
    length, banks of momentum 0.5 that start at random, temperature 0.07, b = 0.8. The images are the labelled ones that
    train. Z, the partition constant, is estimated from the first batch and stays; the history has its logarithm, since
    a single odd batch would scale the whole loss. Negatives are drawn with replacement, for each image anew: of all
    images, as the paper has it, or of those of other classes.

    Args:
        options: What the study set.
    """

    options: CrdOptions
    place: Tensor
    first: Tensor
    own: Tensor

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Makes the banks.

        Raises:
            StudyError: If there are fewer images to draw from than `negatives`.
        """
        options = self.options
        figures = super().fit_teacher(network, teacher, images, compute, trial)
        index = images.index.cpu()
        labels, total = images.dataset.train.labels.cpu()[index], len(index)
        number = torch.bincount(labels, minlength=len(images.dataset.classes))
        own = number if options.mode == "other_classes" else torch.zeros_like(number)
        _check(options, total, total - int(own.max()))
        # Banks are in the order of the classes, so that all others are what stands before and after one's own.
        place = torch.full((len(images.dataset.train),), -1)
        place[index[labels.argsort(stable=True)]] = torch.arange(total)
        for name, values in {"place": place, "first": number.cumsum(0) - number, "own": own}.items():
            self.register_buffer(name, values, persistent=False)
        self.of_student = nn.Linear(network.embedding_size, options.width)
        self.of_teacher = nn.Linear(self.teacher.encoder.num_features, options.width)
        bank = (total, options.width, options.temperature, options.momentum)
        self.students, self.teachers = Bank(*bank), Bank(*bank)
        # On the device: millions of numbers a step would be long in coming from the processor.
        self._generator = torch.Generator(compute.device)
        return figures

    def begin_epoch(
        self, network: TargetNetwork, images: TargetImages, compute: Compute, trial: int, epoch: int
    ) -> dict[str, float]:
        self._generator.manual_seed(seed_of(trial, "crd", "negatives", epoch))
        if epoch == 0:
            return {}  # the first batch is yet to come
        banks = {"student": self.students, "teacher": self.teachers}
        return {f"log_partition_{name}": bank.log_partition.item() for name, bank in banks.items()}

    def between(self, student: Tensor, teacher: Tensor, seen: Seen) -> Tensor:
        ours, theirs = unit(self.of_student(student)), unit(self.of_teacher(teacher))
        rows, negatives = self.place[seen.index], self.negatives(seen.labels)
        loss = self.teachers.contrast(ours, rows, negatives) + self.students.contrast(theirs, rows, negatives)
        self.students.renew(ours, rows)
        self.teachers.renew(theirs, rows)
        return self.options.weight * loss

    def negatives(self, labels: Tensor) -> Tensor:
        """What images of these classes (B,) are compared with: rows of the banks, (B, N) int64."""
        own, size = self.own[labels, None], (len(labels), self.options.negatives)
        shares = torch.rand(size, generator=self._generator, device=labels.device, dtype=torch.float64)
        drawn = (shares * (len(self.students.embeddings) - own)).long()
        return drawn + own * (drawn >= self.first[labels, None])


def _check(options: CrdOptions, images: int, others: int) -> None:
    most = max(1, images // SHARE)
    if options.negatives > others:
        raise StudyError(
            f"transfer `crd`: negatives is {options.negatives}, but there are {others} labelled images to draw from "
            f"(mode `{options.mode}`): set its `negatives` to {most} or less, or raise target.label_fraction"
        )
    if options.negatives > most:
        log.warning(
            "transfer crd: negatives is %d, more than a third of the %d labelled images: advised are %d or less",
            options.negatives, images, most,
        )  # fmt: skip
