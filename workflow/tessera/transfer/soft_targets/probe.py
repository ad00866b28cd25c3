"""A probe: a small classifier on frozen features of the teacher, whose logits are the teacher's."""

import copy
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.store import Split, label_subset
from tessera.errors import DataError
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.training.optimizer import Adam
from tessera.training.randomness import generator_of, index_batches
from tessera.transfer.images import TargetImages
from tessera.transfer.options.soft import SoftTargetsOptions
from tessera.transfer.soft_targets.knowledge import Knowledge, features_of
from tessera.transfer.teacher import Teacher

VIEWS = 4
BATCH = 64
LEARNING_RATE = 1e-3
MOST_NUMBERS = 1 << 29  # features in memory at once, 2 GiB: 65,536 images of 2,048 channels, four views of each


class Probe(Knowledge):
    """Fully connected layers (512-256-K) on the average of z, trained on the labelled target images.

    Source: Kim, Lee & Song 2019, section 4.3, use this head for their supervised source; that its logits serve as soft
    targets is our reading. An over-fitted probe is sure of everything and teaches nothing: so it has dropout, sees
    several augmented views of each image where the training augments, and keeps the weights of the pass that had the
    least cross-entropy on held-out labelled images. Where the features of all labelled images would exceed two
    gigabytes, it learns from a class-balanced part of them. Features are standardised; Adam, 1e-3, batches of 64. No
    test image is seen.

    Args:
        options: What the study set.
    """

    network: nn.Sequential

    def fit(
        self, network: TargetNetwork, teacher: Teacher, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Trains the probe.

        Raises:
            DataError: If no class has two labelled images.
        """
        labeled, num_classes = _fitting(images.labeled, teacher, trial), len(images.dataset.classes)
        held, kept = split_held_out(labeled.labels, self.options.probe_holdout, generator_of(trial, "probe", "holdout"))
        views = _views(teacher, labeled, images, compute, trial)  # (V, N, C), the plain view first
        held, kept = held.to(views.device), kept.to(views.device)
        self.network = _build(views[:, kept], self.options, num_classes).to(compute.device)
        accuracy, cross_entropy = self._train(views, labeled.labels.to(views.device), kept, held, trial)
        self.eval().requires_grad_(False)
        return {"probe_accuracy": accuracy, "probe_cross_entropy": cross_entropy}

    def _train(self, views: Tensor, labels: Tensor, kept: Tensor, held: Tensor, trial: int) -> tuple[float, float]:
        optimizer = Adam(self.network.parameters(), lr=LEARNING_RATE)
        batch = min(BATCH, len(kept))
        least, accuracy, best = float("inf"), 0.0, self.network.state_dict()
        for epoch in range(self.options.probe_epochs):
            view = views[epoch % len(views)]
            generator = generator_of(trial, "probe", epoch)
            self.network.train()
            for rows in kept[index_batches(len(kept), batch, max(1, len(kept) // batch), generator).to(kept.device)]:
                loss = F.cross_entropy(self.network(view[rows]), labels[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.network.eval()
            with torch.no_grad():
                answers = self.network(views[0, held])
                cross_entropy = F.cross_entropy(answers, labels[held]).item()
            if cross_entropy < least:
                accuracy = 100 * (answers.argmax(1) == labels[held]).double().mean().item()
                least, best = cross_entropy, copy.deepcopy(self.network.state_dict())
        self.network.load_state_dict(best)
        return accuracy, least

    def logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.network(features)
        return logits

    def answer(self, z: Tensor, logits: Tensor) -> Tensor:
        return logits


class Standardize(nn.Module):
    """To mean 0 and deviation 1 by fixed statistics of features (M, C)."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("std", features.std(dim=0, correction=0).clamp_min(1e-5))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


def split_held_out(labels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices held out, at least one of each class that has two, and the others; a class's only image is not held out.

    Raises:
        DataError: If no class has two images.
    """
    labels = labels.cpu()
    held = label_subset(labels, share, generator)
    held = held[torch.bincount(labels)[labels[held]] > 1]
    if len(held) == 0:
        raise DataError(
            "transfer `soft_targets` with teacher `probe` needs a class with two labelled images: "
            "raise target.label_fraction, or use teacher `clusters`"
        )
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[held] = False
    return held, kept.nonzero().flatten()


def _fitting(labeled: Split, teacher: Teacher, trial: int) -> Split:
    share = MOST_NUMBERS / (len(labeled) * VIEWS * teacher.encoder.num_features)
    if share >= 1:
        return labeled
    return labeled.subset(label_subset(labeled.labels, share, generator_of(trial, "probe", "images")))


def _views(teacher: Teacher, labeled: Split, images: TargetImages, compute: Compute, trial: int) -> Tensor:
    found = [features_of(teacher, labeled.images, compute)]
    if images.augment is not None:
        view = partial(images.augment, generator=generator_of(trial, "probe", "views"))
        found += [features_of(teacher, labeled.images, compute, view) for _ in range(1, VIEWS)]
    return torch.stack(found)


def _build(features: Tensor, options: SoftTargetsOptions, num_classes: int) -> nn.Sequential:
    widths = (features.shape[-1], *options.probe_hidden)
    hidden = [
        layer
        for inputs, outputs in pairwise(widths)
        for layer in (nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(options.probe_dropout))
    ]
    return nn.Sequential(Standardize(features.flatten(0, 1)), *hidden, nn.Linear(widths[-1], num_classes))
