"""What a step of a transfer sees: one batch, each network run once, whatever number of terms read of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from tessera.models.networks.base import TargetNetwork
from tessera.transfer.images import Views
from tessera.transfer.teacher import Teacher


class Reads(NamedTuple):
    """Names of the maps that a method reads, of the student and of the teacher."""

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """One batch, seen by both networks.

    Attributes:
        views: The same pixels for both. They require a gradient where a method differentiates its input.
        labels: (N,) int64.
        index: (N,) int64: which of the target's training images these are.
        student: The maps that the method reads of the student, and z, its last one.
        embedding: (N, D): what the student's last linear layer reads.
        logits: (N, K) float32, of the student.
        teacher: The maps that the method reads of the teacher, without a gradient.
        attached: The same with their graph to the pixels, where a method differentiates its input.
    """

    views: Views
    labels: Tensor
    index: Tensor
    student: Mapping[str, Tensor]
    embedding: Tensor
    logits: Tensor
    teacher: Mapping[str, Tensor] = field(default_factory=dict)
    attached: Mapping[str, Tensor] = field(default_factory=dict)


def see(
    views: Views, labels: Tensor, index: Tensor, network: TargetNetwork, teacher: Teacher | None, reads: Reads
) -> Seen:
    """Runs each network once; the teacher only where something is read of it."""
    z = list(network.layer_channels)[-1]
    student = network.maps(views.inputs, dict.fromkeys((*reads.student, z)))
    embedding = network.embedding(student[z])
    logits = network.logits(embedding).float()
    if teacher is None or not reads.teacher:
        return Seen(views, labels, index, student, embedding, logits)
    names = dict.fromkeys(reads.teacher)
    if not views.pixels.requires_grad:
        return Seen(views, labels, index, student, embedding, logits, teacher.maps(views.pixels, names))
    attached = teacher.attached_maps(views.pixels, names)
    detached = {name: values.detach() for name, values in attached.items()}
    return Seen(views, labels, index, student, embedding, logits, detached, attached)
