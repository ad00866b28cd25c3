"""A source whose encoder is a file's: what it hands on, and that statistics and normalization are the right ones."""

import logging
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from multitask_stand_ins import tiny_dataset
from torch import nn
from torch.testing import assert_close

from tessera.data.normalization import Normalization
from tessera.errors import StudyError
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.models.networks.build import build_network
from tessera.models.networks.options import ClassifierOptions
from tessera.models.store import load_classifier, load_encoder, save_encoder, save_heads
from tessera.models.weights import IMAGENET
from tessera.multitask.pretrained import load_pretrained
from tessera.multitask.source import Source
from tessera.multitask.store import CLASSIFIER
from tessera.training.compute import Compute

CPU = torch.device("cpu")
COMPUTE = Compute(CPU, "float32")
DATASET = tiny_dataset()


def _source(path: Path, **weights: Any) -> Source:
    weights = {"file": str(path), "sha256": sha256(path.read_bytes()).hexdigest(), **weights}
    return Source.model_validate(
        {"dataset": "cifar10", "encoder": "resnet8", "epochs": 0, "batch_size": 16, "weights": weights}
    )


@pytest.fixture
def network() -> Any:
    """A classifier of two classes that another code trained."""
    torch.manual_seed(3)
    built = build_network(ClassifierOptions(encoder=ResNet8Options()), num_classes=2, image_size=16)
    built(torch.randn(4, 3, 16, 16))
    return built.eval()


@pytest.fixture
def path(network: Any, tmp_path: Path) -> Path:
    state = network.encoder.state_dict() | {f"fc.{name}": values for name, values in network.head.state_dict().items()}
    torch.save({"state_dict": {f"module.{name}": values for name, values in state.items()}}, tmp_path / "file.pth")
    return tmp_path / "file.pth"


@torch.no_grad()
def test_what_is_handed_on_answers_as_the_files_network(
    network: Any, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="tessera"):
        made = load_pretrained(_source(path, classifier=True), DATASET, COMPUTE, trial=0)
    assert "2 tensors are no part of the encoder: fc.weight, fc.bias" in caplog.text
    assert made.normalization is not None
    save_encoder(made.encoder, ResNet8Options(), made.normalization, tmp_path)
    save_heads(made.heads, tmp_path, CLASSIFIER, DATASET.classes)
    stored, classifier = load_encoder(tmp_path, CPU), load_classifier(tmp_path, CPU)
    assert classifier is not None
    assert (classifier.classes, classifier.hidden) == (("a", "b"), ())
    images = torch.randn(3, 3, 16, 16)
    assert_close(classifier.head(stored.encoder(images)), network(images))
    assert (made.history, made.metrics, made.previews) == ([], {}, {})


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, Normalization(*IMAGENET)),
        ({"normalization": "imagenet"}, Normalization(*IMAGENET)),
        ({"normalization": "dataset"}, DATASET.normalization),
        ({"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}, Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))),
    ],
)
def test_the_normalization_is_the_one_that_is_said(
    path: Path, weights: dict[str, Any], expected: Normalization
) -> None:
    assert load_pretrained(_source(path, **weights), DATASET, COMPUTE, trial=0).normalization == expected


def test_a_file_of_tessera_says_its_normalization(network: Any, tmp_path: Path) -> None:
    own = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_encoder(network.encoder, ResNet8Options(), own, tmp_path)
    source = _source(tmp_path / "encoder.safetensors")
    assert load_pretrained(source, DATASET, COMPUTE, trial=0).normalization == own
    source = _source(tmp_path / "encoder.safetensors", normalization="dataset")
    assert load_pretrained(source, DATASET, COMPUTE, trial=0).normalization == DATASET.normalization


@torch.no_grad()
def test_missing_statistics_are_those_of_the_sources_images_as_the_file_wants_them(
    network: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(
        {name: v for name, v in network.encoder.state_dict().items() if "running" not in name}, tmp_path / "bare.pt"
    )
    source = _source(tmp_path / "bare.pt", mean=[0.2, 0.2, 0.2], std=[0.5, 0.5, 0.5])
    # All images in one batch: then the statistics of the first batch norm are those of the whole split.
    source = source.model_copy(update={"batch_size": 48, "statistics_batches": 1})
    with caplog.at_level(logging.INFO, logger="tessera"):
        made = load_pretrained(source, DATASET, COMPUTE, trial=0)
    assert "has no statistics of batch norms" in caplog.text
    encoder = made.encoder
    assert isinstance(encoder, ResNet8)
    maps = encoder.conv1((DATASET.train.images[:].float() / 255 - 0.2) / 0.5)
    assert_close(encoder.bn1.running_mean, maps.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert_close(encoder.bn1.running_var, maps.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_the_files_statistics_are_kept(network: Any, path: Path) -> None:
    made = load_pretrained(_source(path), DATASET, COMPUTE, trial=5)
    assert_close(made.encoder.state_dict(), network.encoder.state_dict(), rtol=0, atol=0)


def test_a_file_that_has_changed_since_the_plan_is_refused(path: Path) -> None:
    source = _source(path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(StudyError, match="has changed since this run was planned: run snakemake again"):
        load_pretrained(source, DATASET, COMPUTE, trial=0)
    path.unlink()
    with pytest.raises(StudyError, match="has changed since"):
        load_pretrained(source, DATASET, COMPUTE, trial=0)


def test_a_classifier_of_other_classes_or_none_is_refused(network: Any, tmp_path: Path) -> None:
    torch.save(network.encoder.state_dict(), tmp_path / "encoder.pt")
    with pytest.raises(StudyError, match=r"has not one linear layer that reads its 64 features: leave classifier out"):
        load_pretrained(_source(tmp_path / "encoder.pt", classifier=True), DATASET, COMPUTE, trial=0)
    fc = {f"fc.{name}": values for name, values in nn.Linear(64, 10).state_dict().items()}
    torch.save(network.encoder.state_dict() | fc, tmp_path / "ten.pt")
    with pytest.raises(StudyError, match=r"the file tells 10 classes apart, .*source\.dataset has 2"):
        load_pretrained(_source(tmp_path / "ten.pt", classifier=True), DATASET, COMPUTE, trial=0)
    fc = {"fc.weight": torch.full((2, 64), float("nan")), "fc.bias": torch.zeros(2)}
    torch.save(network.encoder.state_dict() | fc, tmp_path / "nan.pt")
    with pytest.raises(StudyError, match=r"the linear layer is not finite: the file is damaged"):
        load_pretrained(_source(tmp_path / "nan.pt", classifier=True), DATASET, COMPUTE, trial=0)
