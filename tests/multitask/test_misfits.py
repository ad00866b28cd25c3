"""A state of a pretraining that does not fit costs its epochs, never more."""

from pathlib import Path
from typing import Any

import pytest
import torch
from multitask_stand_ins import tiny_dataset, tiny_source

from misfits import check_misfits
from tessera.multitask.pretrain import pretrain
from tessera.training.compute import Compute

METHODS: dict[str, dict[str, Any]] = {
    "joint": {"optimizer": {"learning_rate": 0.05, "milestones": (0.5,)}},
    "joint_adam": {"optimizer": {"kind": "adam", "learning_rate": 0.01}},
    "tte": {
        "schedule": {"name": "branches", "reset_optimizer": False},
        "fusion": {"name": "tte", "window": 2},
        "regularizer": {"name": "divergence", "filter": "learned"},
    },
}


@pytest.mark.parametrize(
    "method", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("joint", "joint_adam")), "tte"]
)
def test_a_state_that_does_not_fit_is_set_aside(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny_source(**METHODS[method], epochs=2, iterations=2, statistics_batches=1)
    dataset, compute = tiny_dataset(), Compute(torch.device("cpu"), "float32")

    def train(resume: Path | None) -> bytes:
        found = pretrain(source, dataset, {}, compute, 0, resume)
        weights = [*found.encoder.state_dict().values(), *found.heads.state_dict().values()]
        figures = [{name: value for name, value in row.items() if name != "seconds"} for row in found.history]
        return b"".join(tensor.numpy().tobytes() for tensor in weights) + repr(figures).encode()

    check_misfits(train, tmp_path / "job" / "state", monkeypatch, caplog)
