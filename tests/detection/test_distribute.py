"""Several processes of one training: what comes out is what one would have made."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from process_stand_ins import fails, sums
from training_stand_ins import painted, settings, source

from tessera.detection.distribute import ALONE, Share, run_in_processes
from tessera.detection.train import train_detector
from tessera.errors import StudyError, TesseraError
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute

CPU = torch.device("cpu")
FINE_TUNE = {"name": "fine_tune", "lr_factor": 0.5}


def test_shares_are_all_there_is() -> None:
    for processes in (1, 2, 3, 5):
        parts = [Share(rank, processes).of(range(7)) for rank in range(processes)]
        assert [item for part in parts for item in part] == list(range(7))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert torch.equal(ALONE.sum(torch.tensor([2.0])), torch.tensor([2.0]))


def test_a_batch_smaller_than_the_processes_is_refused() -> None:
    with pytest.raises(StudyError, match=r"target.batch_size is 4, too few for 5 GPUs. Lower `gpus`"):
        train_detector(settings(), None, painted(), Compute(CPU, "float32", processes=5), 0, None)


@pytest.mark.slow
def test_sums_and_log_come_from_all_processes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tessera"):
        run_in_processes(sums, Compute(CPU, "float32", processes=2), ([1.0, 2.0, 3.0, 4.0, 5.0], tmp_path))
    assert [torch.load(tmp_path / f"{rank}.pt").item() for rank in range(2)] == [15.0, 15.0]
    (record,) = [record for record in caplog.records if "rank" in record.getMessage()]  # the first alone informs
    assert record.getMessage() == "rank 0 of 2"
    assert record.__dict__["figures"] == {"a": 1.0}


@pytest.mark.slow
def test_an_error_that_the_user_can_mend_is_the_processes_own() -> None:
    with pytest.raises(StudyError, match=r"^one line that helps$"):
        run_in_processes(fails, Compute(CPU, "float32", processes=2), ())


@pytest.mark.slow
def test_two_processes_make_what_one_makes() -> None:
    asked, given = settings(FINE_TUNE, epochs=2, iterations=2, batch_size=5, augmentation="ssd"), source()
    one, several = (
        train_detector(asked, given, painted(), Compute(CPU, "float32", number), 0, None) for number in (1, 2)
    )
    state = several.network.state_dict()
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(state[name], tensor, atol=1e-5, rtol=0)
    for row, other in zip(one.history, several.history, strict=True):
        for figure in ("loss", "localization", "classification", "positives", "learning_rate"):
            assert other[figure] == pytest.approx(row[figure], rel=1e-5), figure
    assert several.about == one.about
    assert several.metrics == pytest.approx(one.metrics, rel=1e-5)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_and_leaves_the_last_epoch(tmp_path: Path) -> None:
    network: dict[str, Any] = {"encoder": {"name": "training_stand_ins:LeanEncoder"}, "dies_after": 4}
    asked = settings(epochs=3, network={"name": "training_stand_ins:Spot", **network})
    with pytest.raises(TesseraError, match=r"process [12] of the 2 .* ended by code 3, .* goes on from there"):
        train_detector(asked, None, painted(), Compute(CPU, "float32", processes=2), 0, tmp_path)
    state = Checkpoint(tmp_path).load()
    assert state is not None
    assert len(state["history"]) == 1
