"""Several transfers in one training: their terms are added, and each network still sees a batch once."""

import math
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tessera import registry
from tessera.data.store import Split
from tessera.models.networks.base import TargetNetwork
from tessera.training.compute import Compute
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.method import TransferMethod
from tessera.transfer.options.combination import CombinationOptions
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.teacher import Teacher

Find = Callable[[TransferMethod], dict[str, float]]


class Combination(TransferMethod):
    """`prod_i a_i CE(y, q) + sum_i term_i`, a_i the weight that method i gives the labels.

    Each method is seeded as if it were alone, so that one and the same starts from the same adapters in every row of a
    table. Figures of a method have its name before them.

    Args:
        options: What the study set.
    """

    options: CombinationOptions
    members: nn.ModuleList

    def __init__(self, options: CombinationOptions) -> None:
        super().__init__(options)
        self.members = nn.ModuleList(registry.load("transfer", part.name)(part) for part in options.of)

    def build_network(self, network: TargetNetwork | None, teacher: Teacher | None, num_classes: int) -> TargetNetwork:
        self.need(teacher)
        builders = [member for member in self._members() if member.options.builds_network]
        build = builders[0].build_network if builders else super().build_network
        return build(network, teacher, num_classes)

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        figures = self._each(lambda member: member.fit_teacher(network, teacher, images, compute, trial))
        found = [member.reads for member in self._members()]
        student = dict.fromkeys(name for reads in found for name in reads.student)
        theirs = dict.fromkeys(name for reads in found for name in reads.teacher)
        self.reads = Reads(tuple(student), tuple(theirs), any(reads.features for reads in found))
        self.label_weight = math.prod(member.label_weight for member in self._members())
        return figures

    def begin_epoch(
        self, network: TargetNetwork, images: TargetImages, compute: Compute, trial: int, epoch: int
    ) -> dict[str, float]:
        return self._each(lambda member: member.begin_epoch(network, images, compute, trial, epoch))

    def first_stage_images(self, images: TargetImages) -> Split:
        return self._two_stage().first_stage_images(images)

    def first_stage_loss(self, views: Views, network: TargetNetwork) -> Tensor:
        return self._two_stage().first_stage_loss(views, network)

    def first_stage_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        return self._two_stage().first_stage_groups(network)

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor | None:
        terms = [term for member in self._members() if (term := member.term(seen, network)) is not None]
        return torch.stack(terms).sum() if terms else None

    def network_groups(self, network: TargetNetwork) -> list[tuple[list[nn.Module], float]]:
        builders = [member for member in self._members() if member.options.builds_network]
        groups = builders[0].network_groups if builders else super().network_groups
        return groups(network)

    def own_modules(self) -> list[nn.Module]:
        return [module for member in self._members() for module in member.own_modules()]

    def _members(self) -> Iterator[TransferMethod]:
        for member in self.members:
            assert isinstance(member, TransferMethod)
            yield member

    def _two_stage(self) -> TransferMethod:
        return next(member for member in self._members() if member.options.two_stage)

    def _each(self, find: Find) -> dict[str, float]:
        """What each member finds, seeded alike, under its name and, where there are several of it, its number."""
        seed, number = torch.initial_seed(), Counter[str]()
        figures: dict[str, float] = {}
        for member in self._members():
            torch.manual_seed(seed)
            word = member.options.word()
            number[word] += 1
            prefix = word if number[word] == 1 else f"{word}{number[word]}"
            figures |= {f"{prefix}.{name}": value for name, value in find(member).items()}
        return figures
