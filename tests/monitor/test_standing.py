"""How jobs stand, from what they leave: nobody is asked, and nothing is touched."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tessera.artifacts import resume_folder
from tessera.jobs import Job
from tessera.monitor.standing import State, last_line, look, strangers
from tessera.study.plan import Plan

Jobs = dict[str, Job]


def states(plan: Plan) -> list[str]:
    """Of the dataset, both trainings, the measurement and the tables."""
    return [str(standing.state) for standing in look(plan, ["small"])]


def test_jobs_are_done_running_or_waiting(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    assert states(plan) == ["waiting"] * 5
    disk.make(jobs["dataset"])
    disk.begin(jobs["first"], epoch=3, epochs=10)
    standings = look(plan, ["small"])
    assert [standing.state for standing in standings[:3]] == [State.DONE, State.RUNNING, State.WAITING]
    assert standings[1].told is not None
    assert standings[1].told.epoch == 3
    for name in ("first", "second", "measured"):
        disk.make(jobs[name])
    (plan.root / plan.studies["small"].marker).parent.mkdir(parents=True)
    (plan.root / plan.studies["small"].marker).write_text("{}")
    assert states(plan) == ["done"] * 5


def test_a_failed_job_says_why_and_blocks_what_needs_it(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    disk.make(jobs["dataset"])
    disk.begin(jobs["first"])
    disk.log(jobs["first"], "2026-01-01 00:00:00 begins\nerror: the loss is nan\n")
    disk.end(jobs["first"], error="the loss is nan in epoch 3")
    assert states(plan) == ["done", "failed", "waiting", "blocked", "blocked"]
    failed = look(plan, ["small"])[1]
    assert failed.why == "the loss is nan in epoch 3"
    assert failed.log == f"logs/source/{jobs['first'].name}.log"
    assert (plan.root / failed.log).exists()


def test_a_killed_job_is_told_from_one_that_runs(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    disk.make(jobs["dataset"])
    disk.begin(jobs["first"], pid=process.pid)
    disk.log(jobs["first"], "2026-01-01 00:00:00 pretrain_source: epoch 2/10\n")
    failed = look(plan, ["small"])[1]
    assert (failed.state, failed.why) == (State.FAILED, "killed; its last word: pretrain_source: epoch 2/10")
    # Its number is another process's by now.
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        disk.begin(jobs["first"], pid=sleeper.pid)
        assert states(plan)[1] == "failed"
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_job_of_another_machine_lives_while_its_file_is_touched(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    disk.begin(jobs["dataset"], pid=2**22 + 1, host="far away")
    assert states(plan)[0] == "running"
    old = time.time() - 3600
    os.utime(plan.root / resume_folder(jobs["dataset"]) / "progress.json", (old, old))
    assert states(plan)[0] == "failed"


def test_a_script_that_cannot_even_start_has_failed(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    disk.log(jobs["dataset"], "Traceback (most recent call last):\nImportError: no numpy\n")
    assert look(plan, ["small"])[0].why == "ImportError: no numpy"


def test_a_job_begins_with_an_empty_log(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    log = disk.log(jobs["dataset"], "")
    assert states(plan)[0] == "running"
    os.utime(log, (time.time() - 3600,) * 2)
    assert states(plan)[0] == "waiting"


def test_an_artifact_that_was_removed_is_to_be_made_again(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    disk.log(jobs["dataset"], "2026-01-01 00:00:00 artifacts/datasets/digits-0: done in 3.2 s\n")
    assert states(plan)[0] == "waiting"


def test_tables_fail_by_the_log(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    for job in jobs.values():
        disk.make(job)
    log = plan.root / "logs" / "summaries" / f"small-{plan.studies['small'].key}.log"
    log.parent.mkdir(parents=True)
    log.write_text("a warning\n")
    assert states(plan)[-1] == "running"
    log.write_text("error: a table is damaged\n")
    assert states(plan)[-1] == "failed"


def test_jobs_of_other_configurations_are_counted(plan: Plan, jobs: Jobs, disk) -> None:  # type: ignore[no-untyped-def]
    disk.begin(jobs["first"])
    disk.begin(jobs["first"].model_copy(update={"words": "another"}))
    assert strangers(plan) == 1


def test_nothing_is_written(plan: Plan, jobs: Jobs, disk, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    disk.begin(jobs["first"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    look(plan, ["small"])
    strangers(plan)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_last_line_is_the_error_where_there_is_one(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert last_line(log) is None
    log.write_text("x" * 9000 + "\n2026-01-01 00:00:00 going on\nerror: no room\n2026-01-01 00:00:01 ends\n\n")
    assert last_line(log) == "no room"
