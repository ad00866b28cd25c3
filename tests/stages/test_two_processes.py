"""A job that two processes are started on: the second waits, and takes over what the first leaves."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stages_runs import Process, line_of, log_line_of

from tessera.jobs import Job


def test_a_new_job_waits_for_the_orphan_and_takes_what_it_made(job: Job, start: Callable[[], Process]) -> None:
    orphan = start()
    assert line_of(orphan) == "started"
    new = start()
    assert f"process {orphan.pid} is at work on this job" in log_line_of(new)
    orphan.communicate("\n")
    output, log = new.communicate("\n")
    assert (orphan.returncode, new.returncode) == (0, 0)
    assert output == ""
    assert "is complete already" in log
    assert Path("journal").read_text() == f"{orphan.pid} starts\n{orphan.pid} ends\n"


@pytest.mark.parametrize("killed", [False, True])
def test_the_log_of_whoever_is_at_work_outlives_the_job_that_waits(
    job: Job, start: Callable[..., Process], killed: bool
) -> None:
    path = Path("logs/datasets", f"{job.name}.log")
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        orphan = start(file)
        assert line_of(orphan) == "started"
    path.unlink()  # as Snakemake does before it starts a job
    with path.open("w") as file:
        new = start(file)
        while "is at work on this job" not in path.read_text():
            assert new.poll() is None
            time.sleep(0.02)
    if killed:
        orphan.send_signal(signal.SIGKILL)
        orphan.wait()
    else:
        orphan.communicate("\n")
    new.communicate("\n")
    assert (bool(orphan.returncode), new.returncode) == (killed, 0)
    waits, *earlier, last = path.read_text().splitlines()
    assert "is at work on this job" in waits
    assert earlier[0].startswith("| ")
    assert f"prepare_dataset: {job.name}" in earlier[0]
    assert ("done in" if killed else "is complete already") in last
    assert ("done in" in earlier[-1]) != killed
    if killed:  # a third process finds the words of both
        path.unlink()
        with path.open("w") as file:
            start(file).communicate("\n")
        assert [line.count("| ") for line in path.read_text().splitlines()] == [1, 1, 1, 1, 0]


def test_a_new_job_goes_on_when_the_orphan_is_killed(job: Job, start: Callable[[], Process]) -> None:
    orphan = start()
    assert line_of(orphan) == "started"
    new = start()
    assert "is at work" in log_line_of(new)
    orphan.send_signal(signal.SIGKILL)
    orphan.wait()
    assert line_of(new) == "started"
    new.communicate("\n")
    assert new.returncode == 0
    assert json.loads(Path(job.manifest).read_text())["files"].keys() == {"images.bin"}
