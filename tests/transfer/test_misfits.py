"""A state of a student that does not fit costs its epochs, never more."""

from pathlib import Path
from typing import Any

import pytest

from misfits import check_misfits
from tessera.data.store import Dataset
from tessera.training.compute import Compute
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network

SOFT_TARGETS = {"name": "soft_targets", "probe_epochs": 1}


@pytest.mark.parametrize(
    "transfer",
    [
        "none",
        pytest.param({"name": "fsp", "calibration_images": 4}, marks=pytest.mark.slow),
        pytest.param(SOFT_TARGETS, marks=pytest.mark.slow),
    ],
)
def test_a_state_that_does_not_fit_is_set_aside(
    transfer: Any,
    settings: Any,
    dataset: Dataset,
    teacher: Teacher,
    compute: Compute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = settings(transfer, epochs=2, first_stage_epochs=1, iterations=1, batch_size=4)

    def train(resume: Path | None) -> bytes:
        found = train_network(asked, teacher, dataset, compute, trial=0, resume=resume)
        figures = [{name: value for name, value in row.items() if name != "seconds"} for row in found.history]
        weights = b"".join(tensor.numpy().tobytes() for tensor in found.network.state_dict().values())
        return weights + repr(figures).encode() + repr(found.metrics).encode()

    check_misfits(train, tmp_path / "job" / "state", monkeypatch, caplog)
