"""The supervised source measured as it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tessera.artifacts import save_history, save_metrics
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset
from tessera.errors import StudyError
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.models.heads.vectors import VectorHead
from tessera.models.networks.options import ClassifierOptions
from tessera.models.store import (
    StoredClassifier,
    load_classifier,
    load_encoder,
    load_network,
    save_encoder,
    save_heads,
    save_network,
)
from tessera.report.tables.curves import HEADER, curves
from tessera.training.compute import Compute
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network

MEAN, STD = (0.45, 0.5, 0.55), (0.2, 0.25, 0.3)


@pytest.mark.parametrize("hidden", [(), (7,), (512, 256)])
def test_logits_are_those_of_the_sources_head_on_its_encoder(
    hidden: tuple[int, ...], settings: Any, dataset: Dataset, compute: Compute, tmp_path: Path
) -> None:
    encoder = ResNet8(ResNet8Options())
    compute.place(encoder)  # in the format of the stage's networks, so that sums have one order
    encoder(torch.randn(8, 3, 16, 16))  # moves the batch-norm statistics
    encoder.eval()
    heads = nn.ModuleDict({
        "supervised": VectorHead(encoder.num_features, hidden, 3, dropout=0.5),
        "pretext": VectorHead(encoder.num_features, (4,), 3),
    }).eval()  # fmt: skip
    save_encoder(encoder, ResNet8Options(), Normalization(MEAN, STD), tmp_path)
    save_heads(heads, tmp_path, "supervised", dataset.classes)
    images = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        expected = heads["supervised"](encoder(images))

    teacher = Teacher.of(load_encoder(tmp_path, compute.device), load_classifier(tmp_path, compute.device))
    trained = train_network(settings("source_only"), teacher, dataset, compute, trial=3, resume=tmp_path / "state")
    assert (trained.history, trained.metrics) == ([], {})
    assert not (tmp_path / "state").exists()
    save_network(trained.network, trained.about, tmp_path)
    stored = load_network(tmp_path, compute.device)
    with torch.no_grad():
        assert torch.equal(trained.network(images), expected)
        assert torch.equal(stored.network(images), expected)
    assert stored.about.options == ClassifierOptions(encoder=ResNet8Options(), hidden=hidden)
    assert tuple(stored.normalization) == (MEAN, STD)


def test_a_history_without_epochs_is_a_file_without_lines(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "transfer" / "a"
    folder.mkdir(parents=True)
    save_history([], folder / "history.csv")
    save_metrics({}, folder / "metrics.json")
    assert curves(tmp_path, ["artifacts/transfer/a"]).splitlines() == [",".join(HEADER)]


def test_a_source_without_labels_is_refused(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    teacher.classifier = None
    with pytest.raises(StudyError, match=r"the source learned no labels: give source.tasks a supervised task"):
        train_network(settings("source_only"), teacher, dataset, compute, trial=0, resume=None)


def test_other_classes_are_refused(settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute) -> None:
    def measured(*classes: str) -> None:
        teacher.classifier = StoredClassifier(VectorHead(64, (), len(classes)), (), classes)
        train_network(settings("source_only"), teacher, dataset, compute, trial=0, resume=None)

    with pytest.raises(StudyError, match="the source tells 4 classes apart, but the target has 3"):
        measured("a", "b", "c", "d")
    with pytest.raises(StudyError, match="class 1 is `c` in the source, but `b` in the target"):
        measured("a", "c", "b")


def test_the_stage_is_complete_without_an_epoch(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    asked = settings("source_only", epochs=0, first_stage_epochs=0, network=None)
    network = train_network(asked, teacher, dataset, compute, trial=0, resume=None).network
    assert not any(parameter.requires_grad for parameter in network.parameters())
