"""A state of a clustering that does not fit costs its iterations, never more."""

from pathlib import Path

import pytest
import torch

from misfits import check_misfits
from tessera.clustering.dec import DeepEmbeddedClustering
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, Split
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.protocols.base import Measured
from tessera.protocols.options import ClusteringOptions
from tessera.training.compute import Compute


@pytest.mark.parametrize("train_encoder", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_state_that_does_not_fit_is_set_aside(
    train_encoder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images = torch.randint(256, (30, 3, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.arange(30) % 3)
    mean, std = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
    dataset = Dataset(("a", "b", "c"), 8, mean, std, {"train": split, "test": split})
    options = ClusteringOptions(
        iterations=4, update_interval=2, restarts=1, batch_size=8, tolerance=0.0, train_encoder=train_encoder
    )
    encoder, compute = ResNet8(ResNet8Options()), Compute(torch.device("cpu"), "float32")

    def train(resume: Path | None) -> bytes:
        found = DeepEmbeddedClustering(options).evaluate(
            Measured(encoder, Normalization(mean, std)), dataset, split, compute, 0, resume
        )
        arrays = b"".join(array.tobytes() for array in found.arrays.values())
        return arrays + repr(found.history).encode() + repr(found.metrics).encode()

    check_misfits(train, tmp_path / "job" / "state", monkeypatch, caplog, "clustering")
