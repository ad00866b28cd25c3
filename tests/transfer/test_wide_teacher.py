"""Teachers unlike the student: other widths, other sizes down to 1x1, and images that are decoded when indexed."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.data.images import Images
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, Split
from tessera.models.encoders.base import Encoder
from tessera.models.encoders.options import ResNet8Options
from tessera.models.networks.options import ReducedAlexNetOptions
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.training.compute import Compute
from tessera.transfer.fsp import Fsp, fsp_loss, pool_to
from tessera.transfer.images import TargetImages, Views, chunks
from tessera.transfer.options.features import FspOptions
from tessera.transfer.options.soft import SoftTargetsOptions
from tessera.transfer.soft_targets import clusters, probe
from tessera.transfer.soft_targets.clusters import Clusters
from tessera.transfer.soft_targets.probe import Probe
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network
from transfer_losses import loss_of


class Uneven(Encoder):
    """Four stages of 7x7, 5x5, 3x3 and 1x1: no ratio to the student's 8x8 and 4x4 is a whole number but the last."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        names = ("one", "two", "three", "four")
        self.layer_channels = dict(zip(names, channels, strict=True))
        inputs = (3, *channels[:-1])
        self.widened = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(inputs, channels, strict=True))

    def layers(self, images: Tensor) -> dict[str, Tensor]:
        found = {}
        for name, stage, size in zip(self.layer_channels, self.widened, (7, 5, 3, 1), strict=True):
            images = stage(F.adaptive_avg_pool2d(images, size)).relu()
            found[name] = images
        return found

    @property
    def stage_pairs(self) -> dict[str, Sequence[tuple[str, str]]]:
        return {
            "across_stage": (("one", "two"), ("two", "three"), ("three", "four")),
            "within_stage": (("one", "two"), ("one", "three"), ("two", "four")),
        }


def uneven(*channels: int) -> Teacher:
    torch.manual_seed(2)
    return Teacher(Uneven(channels), ResNet8Options(), Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


class Packed:
    """Offers no more than packed images do."""

    def __init__(self, images: Tensor) -> None:
        self._images, self.shape, self.device = images, images.shape, images.device

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Tensor | slice, /) -> Tensor:
        return self._images[index]

    def index_select(self, dim: int, index: Tensor, /) -> Images:
        return cast(Images, Packed(self._images.index_select(dim, index)))

    def to(self, device: torch.device, /) -> Images:
        return cast(Images, self)


ALIGNMENTS = ["common", "channel_group", "student_conv1x1"]
METHODS: list[dict[str, Any]] = [
    *(
        {"name": "fsp", "align": align, "pairs": pairs, "mode": mode}
        for align in ALIGNMENTS
        for pairs in ("across_stage", "within_stage")
        for mode in ("two_stage", "joint")
    ),
    {"name": "soft_targets", "teacher": "probe"},
    {"name": "soft_targets", "teacher": "clusters"},
    {"name": "cetl"},
]


@pytest.mark.parametrize("transfer", METHODS, ids=lambda transfer: "-".join(transfer.values()))
def test_a_student_learns_from_a_teacher_of_other_widths_and_sizes(
    transfer: dict[str, Any], settings: Any, dataset: Dataset, compute: Compute
) -> None:
    asked = settings(transfer, epochs=1, first_stage_epochs=1, iterations=1)
    trained = train_network(asked, uneven(5, 130, 40, 96), dataset, compute, trial=0, resume=None)
    assert [row["stage"] for row in trained.history] == (["first"] if asked.transfer.two_stage else []) + ["second"]
    assert all(0 < row["loss"] < 1e4 for row in trained.history)
    assert all(tensor.isfinite().all() for tensor in trained.network.state_dict().values())


@pytest.mark.parametrize("transfer", [
    {"name": "soft_targets", "teacher": "probe"},
    {"name": "soft_targets", "teacher": "clusters"},
    {"name": "fsp", "align": "student_conv1x1"},
    {"name": "cetl"},
], ids=lambda transfer: "-".join(transfer.values()))  # fmt: skip
def test_packed_images_and_2048_channels_give_what_tensors_give(
    transfer: dict[str, Any], settings: Any, dataset: Dataset, compute: Compute
) -> None:
    found = []
    for packed in (False, True):
        train = Split(cast(Images, Packed(dataset.train.images[:])), dataset.train.labels) if packed else dataset.train
        altered = Dataset(dataset.classes, 16, *dataset.normalization, {"train": train, "test": dataset.test})
        asked = settings(transfer, epochs=1, first_stage_epochs=1, iterations=1)
        trained = train_network(asked, uneven(5, 6, 7, 2048), altered, compute, trial=0, resume=None)
        found.append([row["loss"] for row in trained.history])
    assert found[0] == found[1]


@pytest.fixture
def network() -> ReducedAlexNet:
    return ReducedAlexNet(ReducedAlexNetOptions(width="quarter", hidden=16), num_classes=3, image_size=16)


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_joint_fsp_is_the_cross_entropy_and_fifty_times_the_distance(
    align: str, network: ReducedAlexNet, images: TargetImages, compute: Compute
) -> None:
    options = FspOptions.model_validate({"mode": "joint", "align": align, "weight": 7.0})
    assert options.joint_weight == 50
    teacher = uneven(5, 130, 40, 96)
    method = Fsp(options)
    method.fit_teacher(network, teacher, images, compute, trial=0)
    network.eval()
    pixels, labels = images.dataset.test.images[:].float() / 255, images.dataset.test.labels
    views = Views(pixels, images.normalize(pixels))
    loss, logits = loss_of(method, views, labels, network, teacher)
    hard = -network(views.inputs).log_softmax(1)[range(len(labels)), labels].mean()

    theirs, ours = teacher.encoder.layers(teacher.normalize(pixels)), network.layers(views.inputs)
    sides: list[list[tuple[Tensor, Tensor]]] = [[], []]
    pairs = zip(teacher.encoder.stage_pairs["across_stage"], network.stage_pairs["across_stage"], strict=True)
    for ((a, b), (c, d)), size in zip(pairs, (4, 3, 1), strict=True):  # the smallest of the four maps
        for side, maps, names in ((0, theirs, (a, b)), (1, ours, (c, d))):
            which = ("teacher", "student")[side]
            aligned = [
                getattr(method.alignments[f"{t}:{s}"], which)(pool_to(maps[name], (size, size)))
                for t, s, name in ((a, c, names[0]), (b, d, names[1]))
            ]
            sides[side].append((aligned[0], aligned[1]))
    expected = hard + 50 * fsp_loss(*sides)
    assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    assert_close(logits, network(views.inputs))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in [*network.parameters(), *method.parameters()])
    assert method.parameter_groups(network) == [([network, method], 1.0)]


def test_few_images_are_decoded_at_once_and_fewer_of_large_ones() -> None:
    small, large = torch.zeros(10, 3, 16, 16, dtype=torch.uint8), torch.zeros(10, 3, 192, 192, dtype=torch.uint8)
    assert [len(part) for part in chunks(cast(Images, small), 4)] == [4, 4, 2]
    assert [len(part) for part in chunks(cast(Images, large), 8)] == [2] * 5  # a quarter, at twice 96 px


def test_features_in_memory_are_bounded(
    network: ReducedAlexNet, images: TargetImages, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = uneven(5, 6, 7, 8)
    seen: list[int] = []
    for module, method in ((clusters, Clusters), (probe, Probe)):
        look = module.features_of

        def features(teacher: Teacher, given: Images, *rest: Any, look: Any = look) -> Tensor:
            seen.append(len(given))
            return cast(Tensor, look(teacher, given, *rest))

        monkeypatch.setattr(module, "features_of", features)
        monkeypatch.setattr(module, "MOST_NUMBERS", 8 * 30)
        options = SoftTargetsOptions(probe_epochs=1, probe_hidden=(4,), clusters=3)
        method(options).fit(network, teacher, images, compute, trial=0)
    assert seen == [30, 6]  # 30 of 60 images; 2 of each class, so that four views of them fit
