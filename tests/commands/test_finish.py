"""`tessera finish`: what the owner of a run is told in the end."""

from pathlib import Path

import pytest

from tessera.commands.finish import _show_unfinished
from tessera.jobs import Cell, Job, Run, SummarizeStudy
from tessera.monitor.standing import Standing, State
from tessera.protocols.options import ACCURACY
from tessera.study.config import Config
from tessera.study.plan import Plan


def plan_of(root: Path) -> Plan:
    """A study of one cell, of which nothing is made."""
    job = Job(
        stage="evaluate_target", words="a.knn.t0", version=1, trial=0, settings={}, inputs={}, run=Run(studies=("s",))
    )
    cell = Cell(
        row="r",
        column="c",
        protocol="knn",
        figure=ACCURACY,
        artifacts=(job.folder,),
    )
    summary = SummarizeStudy(
        name="s", title="S", description="", scale="smoke", trials=1, rows=("r",), columns=("c",), cells=(cell,),
        artifacts=(job.folder,),
    )  # fmt: skip
    return Plan(Config(studies=["s"]), root, {job.folder: job}, {"s": summary})


@pytest.mark.parametrize("state", [State.FAILED, State.WAITING])
def test_a_failed_job_leaves_a_page_and_a_line(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study that waits, since nobody asked for it, is no failure."""
    plan = plan_of(tmp_path)
    (job,) = plan.jobs.values()
    standing = Standing(job.stage, job.name, state, "logs/target/a.log", job, why="the disk is full")
    monkeypatch.setattr("tessera.commands.finish.look", lambda plan, names: [standing])
    _show_unfinished(plan, ["s"])
    page, said = tmp_path / "results" / "s" / "unfinished.html", capsys.readouterr().out
    if state is State.WAITING:
        assert (page.exists(), said) == (False, "")
    else:
        assert "the disk is full" in page.read_text()
        assert "s is unfinished, for 1 job failed." in said
        assert "the disk is full (logs/target/a.log)" in said
