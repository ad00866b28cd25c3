import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tessera.monitor.failures import SHOWN_LINES, Failures, describe


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "logs" / "source" / "digits.t0-0.log"
    path.parent.mkdir(parents=True)
    path.write_text("2026-01-02 03:04:05 pretrain_source: epoch 1/2\nerror: the disk is full\n")
    return path


@pytest.fixture
def failures() -> Iterator[Failures]:
    before = signal.getsignal(signal.SIGINT)
    failures = Failures().install()
    yield failures
    logging.getLogger("snakemake.logging").removeFilter(failures)
    signal.signal(signal.SIGINT, before)


def record(level: int, message: str, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake.logging", level, "", 0, message, (), None)
    made.__dict__.update(extra)
    return made


def test_a_failed_job_is_told_by_the_line_that_its_log_ends_with(log: Path) -> None:
    assert describe("pretrain_source", [str(log)]) == (
        f"pretrain_source: digits.t0-0 failed\n  the disk is full\n  log: {log}"
    )


def test_what_an_executor_says_of_it_is_told_too(log: Path) -> None:
    told = describe("pretrain_source", [str(log)], "SLURM-job '7' failed, SLURM status is: 'NODE_FAIL'.")
    assert told is not None
    assert told.splitlines()[1] == "  SLURM-job '7' failed, SLURM status is: 'NODE_FAIL'."


def test_of_a_log_that_ends_in_a_traceback_the_end_is_shown(log: Path) -> None:
    log.write_text(
        "".join(f"epoch {index}\n" for index in range(400)) + "Traceback (most recent call last)\nKeyError\n"
    )
    told = describe("pretrain_source", [str(log)])
    assert told is not None
    assert len(told.splitlines()) == SHOWN_LINES + 2
    assert told.splitlines()[-2].strip() == "KeyError"


def test_a_job_without_a_log_is_told(tmp_path: Path) -> None:
    assert describe("all", []) == "all failed"
    told = describe("pretrain_source", [str(tmp_path / "never.log")])
    assert told == f"pretrain_source: never failed\n  log: {tmp_path / 'never.log'}"


@pytest.mark.parametrize("word", ["stopped: the next run goes on after epoch 1", "KeyboardInterrupt"])
def test_a_stopped_job_has_not_failed(log: Path, failures: Failures, word: str) -> None:
    log.write_text(f"2026-01-02 03:04:05 {word}\n")
    assert describe("pretrain_source", [str(log)]) is None
    assert not failures.filter(record(logging.ERROR, "None", rule_name="pretrain_source", log=[str(log)]))


def test_snakemake_says_it_in_our_words(log: Path, failures: Failures) -> None:
    head = "Error in rule pretrain_source, jobid: 4"
    about = {"rule_name": "pretrain_source", "rule_msg": None, "log": [str(log)], "event": "job_error"}
    said = record(logging.ERROR, head, **about)
    assert failures.filter(said)
    assert said.getMessage() == describe("pretrain_source", [str(log)])
    assert not hasattr(said, "event")  # Snakemake would lay it out, with the whole log
    assert not failures.filter(record(logging.ERROR, 'CalledProcessError in file "rules/x.smk", line 26:'))
    last = record(logging.ERROR, "WorkflowError:\nAt least one job did not complete successfully.")
    assert failures.filter(last)
    assert last.getMessage().startswith("error: a job failed")
    assert failures.filter(record(logging.ERROR, "MissingInputException in rule all"))
    assert failures.filter(record(logging.INFO, "Finished jobid: 3 (Rule: pretrain_source)"))


def test_ctrl_c_is_one_line_and_the_second_changes_nothing(
    failures: Failures, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    assert capsys.readouterr().out == "\nstopping: jobs end now, and what is finished is kept\n"
    assert failures.stopped
    assert not failures.filter(record(logging.ERROR, "At least one job did not complete successfully."))


def test_a_job_whose_shell_a_signal_has_ended_is_stopped_though_its_log_does_not_say_so_yet(
    log: Path, failures: Failures
) -> None:
    shell = f"Command 'set -euo pipefail;  python x.py > {log} 2>&1' died with <Signals.SIGTERM: 15>."
    assert not failures.filter(record(logging.ERROR, f'CalledProcessError in file "x.smk", line 26:\n{shell}'))
    assert not failures.filter(record(logging.ERROR, "Error in rule", rule_name="pretrain_source", log=[str(log)]))
    last = record(logging.ERROR, "WorkflowError:\nAt least one job did not complete successfully.")
    assert failures.filter(last)
    assert last.getMessage().startswith("stopped.")


def test_what_a_log_repeats_of_an_earlier_process_is_not_shown(log: Path) -> None:
    log.write_text("| epoch 1\n| epoch 2\nTraceback (most recent call last)\nKeyError\n")
    told = describe("pretrain_source", [str(log)])
    assert told is not None
    assert told.splitlines()[1:-1] == ["  Traceback (most recent call last)", "  KeyError"]


def test_where_ctrl_c_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    failures = Failures().install()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert not failures.stopped
    finally:
        logging.getLogger("snakemake.logging").removeFilter(failures)
        signal.signal(signal.SIGINT, before)
