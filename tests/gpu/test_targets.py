"""Students, and what is measured of them: every transfer method, network and protocol on the device."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from gpu_cases import CPU, LABELLED, dataset, same_bytes, source
from torch import Tensor

from tessera import registry
from tessera.data.detection import DetectionDataset, DetectionSplit, Objects
from tessera.data.store import label_subset
from tessera.jobs import TransferKnowledge
from tessera.models.heads.vectors import VectorHead
from tessera.models.store import StoredClassifier
from tessera.models.trained import Trained
from tessera.multitask.pretrain import pretrain
from tessera.multitask.store import save_trained
from tessera.protocols import PARTS as PROTOCOLS
from tessera.protocols.base import Measured, Protocol
from tessera.training.compute import Compute
from tessera.training.randomness import generator_of
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network

SMALL: dict[str, dict[str, Any]] = {
    "soft_targets": {"probe_epochs": 2, "probe_hidden": [16], "clusters": 5},
    "cetl": {"fisher_batches": 1, "width": 8},
    "crd": {"negatives": 20, "width": 8},
    "combination": {"of": [{"method": "fsp", "mode": "joint"}, {"method": "attention"}]},
    "clustering": {"iterations": 4, "update_interval": 2, "restarts": 2, "batch_size": 16, "tolerance": 0.0},
    "few_shot": {"shots": 2, "queries": 2, "episodes": 5},
}
METHODS = sorted(registry.parts("transfer"))


def teacher(compute: Compute) -> Teacher:
    """Untrained, with a classifier of its own."""
    data = dataset()
    torch.manual_seed(5)
    options = registry.find("encoder", "resnet8").options(name="resnet8")
    encoder = compute.place(registry.load("encoder", "resnet8")(options))
    head = VectorHead(encoder.num_features, (6,), len(data.classes)).eval().to(compute.device)
    return Teacher(encoder, options, data.normalization, StoredClassifier(head, (6,), data.classes))


def student(name: str, compute: Compute, epochs: int = 1, **changes: Any) -> Trained:
    """Two stages of an epoch each, at most, of two steps."""
    content = {
        "transfer": {"name": name, **SMALL.get(name, {})},
        "network": {"name": "reduced_alexnet", "width": "quarter", "hidden": 16},
        "label_fraction": 1.0,
        "epochs": epochs,
        "first_stage_epochs": 1,
        "iterations": 2,
        "batch_size": 8,
        "augmentation": "crop_flip",
        "optimizer": {"learning_rate": 0.01},
        **changes,
    }
    needs: Any = registry.find("transfer", name).options
    given = teacher(compute) if needs.needs_source else None
    asked = TransferKnowledge.model_validate(content)
    return train_network(asked, given, dataset(compute.device), compute, 0, None)


@pytest.mark.parametrize("name", METHODS)
def test_a_student_s_losses_are_near_a_processor_s(name: str, compute: Compute, pretended: bool) -> None:
    if pretended and name == "jacobian":
        pytest.skip("second derivatives make zeros below Python, where the made-up GPU is a processor")
    found, expected = student(name, compute), student(name, Compute(CPU, "float32"))
    assert all(tensor.device.type == compute.device.type for tensor in found.network.state_dict().values())
    assert all(tensor.isfinite().all() for tensor in found.network.state_dict().values())
    first, right = (history[:1] for history in (found.history, expected.history))
    # Dropout draws by the device's own generator, so that a stage with labels is near and not the same.
    assert [row["loss"] for row in first] == pytest.approx([row["loss"] for row in right], rel=0.25)


@pytest.mark.parametrize("name", METHODS)
def test_a_student_is_finite_in_bfloat16(name: str, device: torch.device) -> None:
    found = student(name, Compute(device, "bfloat16"))
    assert all(tensor.isfinite().all() for tensor in found.network.state_dict().values())


@pytest.mark.usefixtures("repeatable")
@pytest.mark.parametrize("name", ["none", "soft_targets", "fsp", "cetl", "crd"])
def test_a_student_repeats_to_the_byte(name: str, compute: Compute) -> None:
    one, other = (student(name, compute, epochs=2).network.state_dict() for _ in range(2))
    assert same_bytes(one, other) == []


def test_a_student_sees_views_that_were_drawn_once(compute: Compute) -> None:
    assert student("attention", compute, views="fixed 2").history


def protocol_of(name: str) -> Protocol:
    made: Protocol = registry.load("protocol", name)(
        registry.find("protocol", name).options(name=name, **SMALL.get(name, {}))
    )
    return made


def assert_near(found: Any, expected: Any) -> None:
    """Figures of the same weights: shares of 32 images within two of these, others within a twentieth."""
    assert found.metrics.keys() == expected.metrics.keys()
    for figure, value in expected.metrics.items():
        share = figure.rpartition(".")[2] in ("accuracy", "error", "top5_accuracy")
        near = pytest.approx(value, rel=0.05, abs=6.5 if share else 1e-6)
        assert value is None or found.metrics[figure] == near, figure


def test_every_protocol_is_measured_here() -> None:
    assert {*FROZEN, "classification", "tasks", "detection"} == PROTOCOLS.keys()


FROZEN = sorted(
    name
    for name, part in PROTOCOLS.items()
    if (part.options.scores, part.options.measures) == ("class", "encoder")  # type: ignore[attr-defined]
)


@pytest.mark.parametrize("name", FROZEN)
def test_a_protocol_measures_as_on_a_processor(name: str, compute: Compute) -> None:
    found = []
    for where in (compute, Compute(CPU, "float32")):
        data = dataset(where.device)
        labeled = data.train.subset(label_subset(data.train.labels, 1.0, generator_of(0, "labels")))
        measured = Measured(teacher(where).encoder, data.normalization)
        found.append(protocol_of(name).evaluate(measured, data, labeled, where, 0).metrics)
    assert found[0].keys() == found[1].keys()
    for figure, value in found[1].items():
        assert value is None or found[0][figure] == pytest.approx(value, abs=15)  # percent, of 32 images


def test_a_student_is_measured_as_on_a_processor(compute: Compute) -> None:
    right, protocol = Compute(CPU, "float32"), protocol_of("classification")
    network = student("none", right).network
    found = []
    for where in (right, compute):
        data = dataset(where.device)
        measured = Measured(where.place(network).eval(), data.normalization)
        found.append(protocol.evaluate(measured, data, data.train, where, 0))
    assert_near(found[1], found[0])


def test_a_source_s_tasks_are_measured_as_on_a_processor(compute: Compute, tmp_path: Path) -> None:
    right, of, protocol = Compute(CPU, "float32"), source(tasks=LABELLED, epochs=1), protocol_of("tasks")
    made = pretrain(of, dataset(), {}, right, 0, None)
    save_trained(of, dataset(), made.encoder, made.heads, made.sharing, tmp_path)
    one, other = (
        protocol.evaluate(protocol.model(tmp_path, where.device), dataset(where.device), None, where, 0)
        for where in (compute, right)
    )
    assert any(name.startswith("depth.") for name in one.metrics)
    assert_near(one, other)


def detector(compute: Compute) -> Any:
    torch.manual_seed(0)
    options = registry.find("network", "ssd300").options(name="ssd300", encoder="vgg16")
    encoder = registry.load("encoder", "vgg16")(options.encoder)  # type: ignore[attr-defined]
    return compute.place(registry.load("network", "ssd300")(options, encoder, 3))


def test_a_detector_takes_a_step(compute: Compute) -> None:
    network = detector(compute).train()
    images = torch.rand(2, 3, 300, 300, generator=torch.Generator().manual_seed(1)).to(compute.device)
    boxes = torch.tensor([[30.0, 30.0, 180.0, 210.0], [90.0, 60.0, 270.0, 240.0]])
    objects = [Objects(boxes[:n], torch.arange(n), torch.zeros(n, dtype=torch.bool)).to(compute.device) for n in (1, 2)]
    losses = network.losses(images.contiguous(memory_format=torch.channels_last), objects)
    sum(losses[name] for name in ("localization", "classification")).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    with torch.no_grad():
        assert len(network.eval().detect(images)) == 2


class Scenes:
    """As `DetectionSplit`: two images, each of its own size."""

    sizes = ((120, 200), (300, 150))

    def __len__(self) -> int:
        return len(self.sizes)

    def image(self, index: int) -> Tensor:
        drawn = torch.rand(3, *self.sizes[index], generator=torch.Generator().manual_seed(index))
        return (255 * drawn).to(torch.uint8)

    def objects(self, index: int) -> Objects:
        boxes = torch.tensor([[10.0, 10.0, 90.0, 100.0], [40.0, 20.0, 140.0, 110.0]])
        return Objects(boxes, torch.arange(2), torch.zeros(2, dtype=torch.bool))

    def name(self, index: int) -> str:
        return str(index)

    def size(self, index: int) -> tuple[int, int]:
        return self.sizes[index]


def test_a_detector_is_measured(compute: Compute) -> None:
    network, split = detector(compute), cast(DetectionSplit, Scenes())
    data = DetectionDataset(("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, {"train": split, "test": split})
    found = protocol_of("detection").evaluate(Measured(network, data.normalization), data, None, compute, 0)
    assert all(0 <= (value or 0) <= 100 for value in found.metrics.values())
    height, width = torch.tensor(Scenes.sizes)[torch.from_numpy(found.arrays["image"])].unbind(1)
    boxes = torch.from_numpy(found.arrays["boxes"])
    assert len(boxes)
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= width).all()
    assert (boxes[:, 3] <= height).all()
