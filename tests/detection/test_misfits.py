"""A state of a detector that does not fit costs its epochs, never more."""

from pathlib import Path

import pytest
import torch
from training_stand_ins import painted, settings, source

from misfits import check_misfits
from tessera.detection.train import train_detector
from tessera.training.compute import Compute


def test_a_state_that_does_not_fit_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = settings({"name": "fine_tune", "lr_factor": 0.5}, epochs=2, iterations=1)
    given, dataset, compute = source(), painted(), Compute(torch.device("cpu"), "float32")

    def train(resume: Path | None) -> bytes:
        found = train_detector(asked, given, dataset, compute, 0, resume)
        figures = [{name: value for name, value in row.items() if name != "seconds"} for row in found.history]
        weights = b"".join(tensor.numpy().tobytes() for tensor in found.network.state_dict().values())
        return weights + repr(figures).encode()

    check_misfits(train, tmp_path / "job" / "state", monkeypatch, caplog)
