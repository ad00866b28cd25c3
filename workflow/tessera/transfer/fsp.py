"""Flow of solution procedure: the student learns how the teacher's maps change from layer to layer."""

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.data.images import Images
from tessera.data.store import Split
from tessera.data.views import to_unit
from tessera.errors import StudyError
from tessera.models.encoders.base import LayeredNetwork
from tessera.models.networks.base import TargetNetwork
from tessera.registry import suggest
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of
from tessera.transfer.alignment import ALIGNMENTS, Alignment, Moments
from tessera.transfer.images import TargetImages, Views, chunks
from tessera.transfer.method import TransferMethod
from tessera.transfer.options.features import FspOptions
from tessera.transfer.seen import Reads, Seen
from tessera.transfer.teacher import Teacher

CHUNK = 250
Layers = tuple[str, str]


def gram(first: Tensor, second: Tensor) -> Tensor:
    """The FSP matrix `G_ij = (1 / hw) sum_st F1_sti F2_stj` of two layers, for each image.

    Source: Yim, Joo, Bae & Kim, CVPR 2017, eq. (1).

    Shape:
        first: (N, m, h, w); second: (N, n, h, w).
        returns: (N, m, n).
    """
    return torch.bmm(first.flatten(2), second.flatten(2).transpose(1, 2)) / first[0, 0].numel()


def fsp_loss(teacher: Sequence[tuple[Tensor, Tensor]], student: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Squared difference of the FSP matrices, a mean over entries and images, summed over the pairs of layers.

    Source: Yim et al. 2017, eq. (2), with equal weights. The paper sums over entries; with the mean, layers of unlike
    widths count alike.

    Shape:
        teacher, student: pairs of maps (N, m, h, w) and (N, n, h, w), float32.
        returns: ().
    """
    losses = [(gram(*a) - gram(*b)).square().mean() for a, b in zip(teacher, student, strict=True)]
    return torch.stack(losses).sum()


def pool_to(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Max-pools maps (N, C, h, w) to a size that is no larger."""
    if images.shape[2:] == size:
        return images
    kernel = (images.shape[2] // size[0], images.shape[3] // size[1])
    if (kernel[0] * size[0], kernel[1] * size[1]) == images.shape[2:]:
        return F.max_pool2d(images, kernel)
    return F.adaptive_max_pool2d(images, size)


class Fsp(TransferMethod):
    """Two stages: first the FSP matrices of the teacher, without labels; then the labels alone, from those weights.

    Mode `joint` has one stage, `CE + joint_weight L_FSP`, on labelled images; the student's maps and logits come from
    one pass.

    Source: Yim et al. 2017. The i-th pair of the teacher's layers is matched with the i-th of the student's; all four
    maps are max-pooled to the smallest of them before their channels are aligned (`align`), and the teacher's are
    divided by their root mean square over calibration images, since large maps would outweigh the others.

    Args:
        options: What the study set.
    """

    options: FspOptions

    def __init__(self, options: FspOptions) -> None:
        super().__init__(options)
        self.alignments = nn.ModuleDict()

    def fit_teacher(
        self, network: TargetNetwork, teacher: Teacher | None, images: TargetImages, compute: Compute, trial: int
    ) -> dict[str, float]:
        """Pairs the layers, and finds the teacher's axes and scales on calibration images.

        Raises:
            StudyError: If the two networks cannot be paired.
        """
        self.teacher = self.need(teacher)
        which = self.options.pairs
        teacher_pairs, student_pairs = _pairs(self.teacher.encoder, which), _pairs(network, which)
        if len(teacher_pairs) != len(student_pairs):
            raise StudyError(
                f"transfer `fsp`, pairs `{which}`: the encoder has {len(teacher_pairs)} pairs of layers, the target "
                f"network {len(student_pairs)}. Choose other `pairs`, or networks that match."
            )
        self.pairs = list(zip(teacher_pairs, student_pairs, strict=True))
        self.points = {
            _key(a, b): (a, b) for pair in self.pairs for a, b in zip(*pair, strict=True)
        }  # a layer in two pairs is aligned once
        if not self.options.two_stage:
            teachers, students = zip(*self.points.values(), strict=True)
            self.reads = Reads(tuple(dict.fromkeys(students)), tuple(dict.fromkeys(teachers)))
        split = self.first_stage_images(images)
        order = torch.randperm(len(split), generator=generator_of(trial, "fsp", "calibration"))
        calibration = split.images[order[: self.options.calibration_images].to(split.images.device)]
        moments = self._moments(network, calibration, images, compute)
        align = ALIGNMENTS[self.options.align]
        self.alignments = nn.ModuleDict(
            {key: align(*moments[key], self.options.width) for key in self.points}
        ).to(compute.device)  # fmt: skip
        return {}

    def first_stage_images(self, images: TargetImages) -> Split:
        return images.dataset.train if self.options.images == "all" else images.labeled

    def first_stage_loss(self, views: Views, network: TargetNetwork) -> Tensor:
        return self.options.weight * self._distance(*self._maps(views, network))

    def term(self, seen: Seen, network: TargetNetwork) -> Tensor | None:
        if self.options.two_stage:
            return None
        return self.options.joint_weight * self._distance(seen.teacher, seen.student)

    def own_modules(self) -> list[nn.Module]:
        return [] if self.options.two_stage else [self]  # there the student's adapters have done their work

    def _distance(self, teacher: Mapping[str, Tensor], student: Mapping[str, Tensor]) -> Tensor:
        # A Gram matrix is a sum over positions: bfloat16 would keep three digits of it.
        with torch.autocast(next(iter(student.values())).device.type, enabled=False):
            matched = [self._align(pair, teacher, student) for pair in self.pairs]
            return fsp_loss([a for a, _ in matched], [b for _, b in matched])

    def _align(
        self, pair: tuple[Layers, Layers], teacher: Mapping[str, Tensor], student: Mapping[str, Tensor]
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        sides = []
        for key, theirs, ours in _pooled(pair, teacher, student):
            alignment = self.alignments[key]
            assert isinstance(alignment, Alignment)
            sides.append((alignment.teacher(theirs), alignment.student(ours)))
        (first, third), (second, fourth) = sides
        return (first, second), (third, fourth)

    @torch.no_grad()
    def _moments(
        self, network: TargetNetwork, calibration: Images, images: TargetImages, compute: Compute
    ) -> dict[str, tuple[Moments, Moments]]:
        # A copy in train mode: its batch-norm statistics say nothing yet, and the student's own must not move.
        student = copy.deepcopy(network).train()
        channels = [{**n.layer_channels, **n.inner_channels} for n in (self.teacher.encoder, network)]
        found = {key: (Moments(channels[0][a]), Moments(channels[1][b])) for key, (a, b) in self.points.items()}
        for part in chunks(calibration, CHUNK):
            pixels = to_unit(part).contiguous(memory_format=torch.channels_last)
            with compute.autocast():
                maps = self._maps(Views(pixels, images.normalize(pixels)), student)
            # As the loss pools them: maxima are larger. A layer in two pairs is measured as the first has it.
            pooled = [point for pair in reversed(self.pairs) for point in _pooled(pair, *maps)]
            for key, theirs, ours in {point[0]: point for point in pooled}.values():
                found[key][0].add(theirs)
                found[key][1].add(ours)
        return found

    def _maps(self, views: Views, network: TargetNetwork) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Maps of the paired layers, of the teacher and of the student."""
        teacher, student = zip(*self.points.values(), strict=True)
        return (
            self.teacher.maps(views.pixels, dict.fromkeys(teacher)),
            network.maps(views.inputs, dict.fromkeys(student)),
        )


def _pooled(
    pair: tuple[Layers, Layers], teacher: Mapping[str, Tensor], student: Mapping[str, Tensor]
) -> list[tuple[str, Tensor, Tensor]]:
    """Both points of a pair: key, teacher's map and student's map, float32, pooled to the smallest of the four."""
    names = list(zip(*pair, strict=True))
    sizes = [found.shape[2:] for a, b in names for found in (teacher[a], student[b])]
    size = min(height for height, _ in sizes), min(width for _, width in sizes)
    return [(_key(a, b), pool_to(teacher[a].float(), size), pool_to(student[b].float(), size)) for a, b in names]


def _key(teacher: str, student: str) -> str:
    return f"{teacher}:{student}".replace(".", "_")  # a module's name has no dot


def _pairs(network: LayeredNetwork, which: str) -> Sequence[Layers]:
    pairs = network.stage_pairs
    if which not in pairs:
        raise StudyError(f"transfer `fsp`: {type(network).__name__} has no pairs `{which}`. {suggest(which, pairs)}")
    return pairs[which]
