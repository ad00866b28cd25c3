"""A running job says where it is, and costs nothing by it."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tessera import told
from tessera.artifacts import resume_folder
from tessera.jobs import Job
from tessera.told import Told, read_told, telling
from tessera.training.pace import Pace

JOB = Job(stage="pretrain_source", words="e", version=1, trial=0, settings={}, inputs={})
FOLDER = resume_folder(JOB)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(told, "EVERY_S", 0.02)
    caplog.set_level(logging.INFO, "tessera")
    FOLDER.mkdir(parents=True)


def wait_for(condition: Callable[[Told], bool]) -> Told:
    """What the job says, as soon as it says that."""
    until = time.monotonic() + 5
    while (told := read_told(FOLDER)) is None or not condition(told):
        assert time.monotonic() < until, told
        time.sleep(0.01)
    return told


def test_every_epoch_is_told() -> None:
    with telling(JOB):
        logging.getLogger("tessera").info("GPU %s leased", "3", extra={"device": "3"})
        shown = Pace("pretrain_source", epochs=4)
        begun = wait_for(lambda told: told.epochs == 4)
        assert (begun.epoch, begun.device, begun.said) == (0, "3", "pretrain_source: 4 epochs")
        for _ in range(2):
            seconds = shown.seconds()
            shown.epoch(640, **{"jigsaw.loss": 2.5})
        told = wait_for(lambda told: told.epoch == 2)
        assert (told.what, told.epochs, told.figures) == ("pretrain_source", 4, {"jigsaw.loss": 2.5})
        assert told.epoch_s == seconds
        assert told.images_per_s == pytest.approx(640 / seconds)
        assert told.remaining_s == pytest.approx(2 * (told.epoch_s or 0), abs=0.2)
        assert abs(told.at - time.time()) < 5
        assert told.device == "3"
    assert not list(FOLDER.iterdir())


def test_a_failure_is_the_last_word() -> None:
    with pytest.raises(ValueError, match="nan"), telling(JOB):
        raise ValueError("the loss is nan\nin epoch 3")
    told = read_told(FOLDER)
    assert told is not None
    assert told.error == "the loss is nan in epoch 3"


def test_the_file_shows_that_a_silent_job_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "BEAT_S", 0.05)
    with telling(JOB):
        before = (FOLDER / told.FILE).stat().st_mtime_ns
        until = time.monotonic() + 5
        while (FOLDER / told.FILE).stat().st_mtime_ns == before:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_a_disk_that_refuses_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(told, "replace_text", refuse)
    with telling(JOB):
        Pace("w", epochs=1).epoch(1, loss=1.0)
        time.sleep(0.1)


def test_what_cannot_be_read_says_nothing() -> None:
    file = FOLDER / told.FILE
    for text in ("", "[]", "{}", '{"pid": 1'):
        file.write_text(text)
        assert read_told(FOLDER) is None
    file.write_text(json.dumps({"pid": 1, "host": "h", "started": 0.0, "of a later version": 1}))
    assert read_told(FOLDER) == Told(1, "h", 0.0)
