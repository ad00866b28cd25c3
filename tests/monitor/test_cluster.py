"""What a cluster's end of a job means: what is asked for next, and what a reader is told."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.artifacts import resume_folder
from tessera.jobs import Job
from tessera.monitor import cluster
from tessera.monitor.cluster import MEMORY, TIME, End, end_of, keeps_no_accounts
from tessera.monitor.failures import Failures
from tessera.monitor.standing import State, look
from tessera.study.plan import Plan

LIMITS = {"runtime": 61, "mem_mb": 8000, "gpu": 1}
STOPPED = "2026-01-02 03:04:05 stopped: the next run goes on after epoch 7 of 50\n"
Fail = Callable[..., str]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "logs" / "source" / "digits.t0-0.log"
    path.parent.mkdir(parents=True)
    path.write_text(STOPPED)
    return path


@pytest.fixture
def failures() -> Failures:
    return Failures(lambda: 2)


@pytest.fixture
def fail(failures: Failures, log: Path) -> Fail:
    """One attempt that ends so; what is said of it, or nothing."""

    def ended(state: str = "", written: str = STOPPED, **asked: Any) -> str:
        log.write_text(written)
        said = f"SLURM-job '4' failed, SLURM status is: '{state}'. Detailed failure reason unavailable (not sacct)."
        said += "For further error details see the cluster/cloud log and the log files of the involved rule(s)."
        about = {"rule_name": "pretrain_source", "log": [str(log), "slurm/4.log"]}
        begun = record(logging.INFO, resources={**LIMITS, **asked}, **about)
        assert failures.filter(begun)
        over = record(logging.ERROR, rule_msg=said if state else None, **about)
        return over.getMessage() if failures.filter(over) else ""

    return ended


def record(level: int, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake.logging", level, "", 0, "", (), None)
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. Reason: Unknown.", End("7", "TIMEOUT")),
        ("SLURM-job '7_1' failed due to a node failure, SLURM status is: 'NODE_FAIL'.", End("7_1", "NODE_FAIL")),
        ("SLURM-job '7' failed, SLURM status is: 'CANCELLED by 1000'.", End("7", "CANCELLED")),
        ("SLURM sbatch failed. The error message was 'no such partition'.", None),
        ("", None),
    ],
)
def test_the_executor_says_how_a_job_ended(said: str, end: End | None) -> None:
    assert end_of(said) == end


@pytest.mark.parametrize(
    ("state", "written", "time", "memory"),
    [
        ("TIMEOUT", STOPPED, 2, 1),
        ("OUT_OF_MEMORY", "2026-01-02 03:04:05 epoch 3/10\n", 1, 2),
        ("FAILED", "error: the memory does not suffice. Run fewer jobs at once\n", 1, 2),
        ("FAILED", "Traceback (most recent call last):\n  x\nMemoryError: no room\n", 1, 2),
        ("FAILED", "error: the loss is not finite\n", 1, 1),
        ("CANCELLED", STOPPED, 1, 1),
        ("NODE_FAIL", "2026-01-02 03:04:05 epoch 3/10\n", 1, 1),
        # Another executor does not say, but the job may.
        ("", "error: the loss is not finite\n", 1, 1),
        ("", "2026-01-02 03:04:05 epoch 3/10\n", 2, 2),
    ],
)
def test_more_is_asked_for_only_of_what_was_short(
    failures: Failures, fail: Fail, log: Path, state: str, written: str, time: int, memory: int
) -> None:
    assert (failures.times(str(log), TIME, 1), failures.times(str(log), MEMORY, 1)) == (1, 1)
    fail(state, written)
    assert (failures.times(str(log), TIME, 2), failures.times(str(log), MEMORY, 2)) == (time, memory)
    fail("TIMEOUT")
    assert failures.times(str(log), TIME, 3) == time + 1


def test_a_jobs_own_process_knows_the_number_of_its_attempt_alone() -> None:
    assert Failures().times("logs/source/x.log", TIME, 3) == 3


def test_a_time_limit_is_named_with_what_to_do_when_no_attempt_is_left(fail: Fail, log: Path) -> None:
    first = fail("TIMEOUT")
    assert first.splitlines() == [
        "pretrain_source: digits.t0-0 met its time limit of 61 minutes (attempt 1 of 3); "
        "the next run goes on after epoch 7 of 50",
        f"  log: {log}",
    ]
    assert log.read_text() == STOPPED  # it is tried again
    fail("TIMEOUT", runtime=122)
    last = fail("TIMEOUT", runtime=183)
    words = (
        "met its time limit of 183 minutes (attempt 3 of 3); the next run goes on after epoch 7 of 50. "
        "Raise the limit: --set-resources 'pretrain_source:runtime=attempt*N'"
    )
    assert last.splitlines()[0] == f"pretrain_source: digits.t0-0 {words}"
    assert log.read_text() == f"{STOPPED}error: {words}\n"


def test_memory_and_cancelling_are_told_in_a_line(fail: Fail, log: Path) -> None:
    said = fail("OUT_OF_MEMORY", "2026-01-02 03:04:05 epoch 3/10\n")
    assert said.splitlines()[0] == (
        "pretrain_source: digits.t0-0 met its limit of memory of 8,000 MB (attempt 1 of 3); its last word: epoch 3/10"
    )
    said = fail("CANCELLED")
    assert said.splitlines()[0] == (
        "pretrain_source: digits.t0-0 was cancelled; the next run goes on after epoch 7 of 50"
    )
    assert log.read_text() == STOPPED


def test_what_the_executor_adds_is_left_out(fail: Fail, log: Path) -> None:
    said = fail("FAILED", "error: the loss is not finite\n")
    assert said.splitlines() == [
        "pretrain_source: digits.t0-0 failed",
        "  SLURM-job '4' failed, SLURM status is: 'FAILED'.",
        "  the loss is not finite",
        f"  log: {log}",
    ]


def test_of_a_job_that_never_began_the_executors_log_is_shown(failures: Failures, tmp_path: Path) -> None:
    slurms = tmp_path / "4.log"
    slurms.write_text("sbatch: error: no python here\n")
    about = {"rule_name": "pretrain_source", "log": [str(tmp_path / "never.log"), str(slurms)], "rule_msg": "failed"}
    said = record(logging.ERROR, **about)
    assert failures.filter(said)
    assert said.getMessage().splitlines()[-2:] == ["  sbatch: error: no python here", f"  log: {slurms}"]


def test_a_study_says_which_job_met_a_limit(plan: Plan, jobs: dict[str, Job], disk: Any) -> None:
    job = jobs["first"]
    disk.make(jobs["dataset"])
    disk.begin(job)
    log = disk.log(job, STOPPED)
    disk.end(job, error="stopped: the next run goes on after epoch 7 of 50")
    assert look(plan, ["small"])[1].state is State.WAITING
    log.write_text(f"{STOPPED}error: met its time limit of 61 minutes\n")
    failed = look(plan, ["small"])[1]
    assert (failed.state, failed.why) == (State.FAILED, "met its time limit of 61 minutes")
    # Also where it was killed with its number still there.
    disk.begin(job)
    assert (plan.root / resume_folder(job) / ".pid").exists()
    assert look(plan, ["small"])[1].why == "met its time limit of 61 minutes"


@pytest.mark.parametrize(
    ("told", "none"),
    [
        ("AccountingStorageType   = accounting_storage/none", True),
        ("AccountingStorageType   = (null)", True),
        ("AccountingStorageType   = accounting_storage/slurmdbd", False),
        ("no such thing", False),
    ],
)
def test_a_slurm_without_accounts_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, none: bool
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho 'Configuration data'\necho '{told}'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert keeps_no_accounts() is none
    monkeypatch.setattr(cluster, "_ASK_S", 0.0)
    assert keeps_no_accounts() is False  # no answer is none
    scontrol.unlink()
