"""What a step of a transfer sees: one batch, each network run once, whatever number of terms read of it."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from tessera.models.networks.base import TargetNetwork
from tessera.training.twice import FastTwice
from tessera.transfer.images import Views
from tessera.transfer.teacher import Teacher, pooled


class Reads(NamedTuple):
    """What a method reads.

    Attributes:
        student: Names of the student's maps; z, its embedding and its logits are always there.
        teacher: Names of the teacher's maps.
        features: Whether it reads the teacher's features, which may have been recorded (`record_teacher`).
    """

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    features: bool = False


@dataclass(frozen=True)
class Seen:
    """One batch, seen by both networks.

    Attributes:
        views: The same pixels for both. They require a gradient where a method differentiates its input.
        labels: (N,) int64.
        index: (N,) int64: which of the target's training images these are.
        student: The maps that the method reads of the student.
        z: The student's last map.
        embedding: (N, D): what the student's last linear layer reads.
        logits: (N, K) float32, of the student.
        teacher: The maps that the method reads of the teacher, without a gradient.
        attached: The same with their graph to the pixels, where a method differentiates its input.
    """

    views: Views
    labels: Tensor
    index: Tensor
    student: Mapping[str, Tensor]
    z: Tensor
    embedding: Tensor
    logits: Tensor
    teacher: Mapping[str, Tensor] = field(default_factory=dict)
    attached: Mapping[str, Tensor] = field(default_factory=dict)
    pooled: Tensor | None = None

    @property
    def features(self) -> Tensor:
        """(N, C) float32, the teacher's: its z averaged over space, without a gradient.

        Raises:
            RuntimeError: If the method does not say that it reads them.
        """
        if self.pooled is None:
            raise RuntimeError("to read the teacher's features a method has `reads = Reads(features=True)`")
        return self.pooled


def see(
    views: Views,
    labels: Tensor,
    index: Tensor,
    network: TargetNetwork,
    teacher: Teacher | None,
    reads: Reads,
    recorded: Tensor | None = None,
) -> Seen:
    """Runs each network once; the teacher only where something is read of it that was not recorded.

    Args:
        recorded: The teacher's features of these views, (N, C) float32, where they were made before.
    """
    z = list(network.layer_channels)[-1]
    with FastTwice() if views.pixels.requires_grad else nullcontext():
        student = network.maps(views.inputs, dict.fromkeys((*reads.student, z)))
        embedding = network.embedding(student[z])
        logits = network.logits(embedding).float()
    features = recorded if reads.features else None
    found, attached = dict[str, Tensor](), dict[str, Tensor]()
    names = list(reads.teacher)
    if teacher is not None and reads.features and recorded is None:
        names.append(teacher.z)
    if teacher is not None and names:
        if views.pixels.requires_grad:
            attached = teacher.attached_maps(views.pixels, dict.fromkeys(names))
            found = {name: values.detach() for name, values in attached.items()}
        else:
            found = teacher.maps(views.pixels, dict.fromkeys(names))
        if reads.features and recorded is None:
            features = pooled(found[teacher.z])
    return Seen(views, labels, index, student, student[z], embedding, logits, found, attached, features)
