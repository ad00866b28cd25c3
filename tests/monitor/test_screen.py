"""What a terminal shows: all of it, no line too wide, nothing that is not so."""

import io
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len

from tessera.commands import watch
from tessera.jobs import Job
from tessera.monitor.screen import failure, lines, one_line
from tessera.monitor.standing import State
from tessera.monitor.view import View, Watcher
from tessera.study.plan import Plan

Jobs = dict[str, Job]
FIGURES = {"jigsaw.loss": 2.3456, "colorization.loss": 1.25, "segmentation.loss": 0.5, "reconstruction.loss": 0.125}


@pytest.fixture
def look(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Callable[[], View]:
    monkeypatch.setenv("TESSERA_PRETEND_GPUS", "4")
    return lambda: Watcher(plan, ("small",)).view()


def busy(jobs: Jobs, disk: Any) -> None:
    """The dataset made, one training at work, another failed."""
    disk.make(jobs["dataset"], 12.0)
    now = time.time()
    says = {"what": "pretrain_source", "epoch": 3, "epochs": 10, "epoch_s": 60.0, "images_per_s": 1234.5}
    disk.begin(jobs["first"], device="2", remaining_s=420.0, at=now, figures=FIGURES, **says)
    disk.begin(jobs["second"])
    disk.end(jobs["second"], error="the loss is nan in epoch 3. " * 20)


def test_everything_is_on_the_screen(look: Callable[[], View], jobs: Jobs, disk: Any) -> None:
    busy(jobs, disk)
    text = "\n".join(line.plain for line in lines(look(), 80))
    assert "1 of 5 jobs done, 1 running, 1 waiting, 1 failed, 1 blocked" in text
    assert "1 GPU of 4 in use: GPU 2" in text
    assert "about 7 min left, 1 job roughly guessed" in text
    assert jobs["first"].name in text
    assert "epoch 3/10, 1,234 images/s, 6 min left" in text
    assert "loss: jigsaw 2.35, colorization 1.25, segmentation 0.5, reconstruction 0.125" in text
    assert "the loss is nan in epoch 3." in text
    assert f"logs/source/{jobs['second'].name}.log" in text
    assert "prepare_dataset               1/1" in text


def test_names_give_way_to_values(look: Callable[[], View], jobs: Jobs, disk: Any) -> None:
    busy(jobs, disk)
    text = "\n".join(line.plain for line in lines(look(), 60))
    assert "loss: jigsaw 2.35, color… 1.25, segme… 0.5, recon… 0.125" in text


@pytest.mark.parametrize("devices", ["0", "1,3"])
def test_a_job_may_have_several_devices(look: Callable[[], View], jobs: Jobs, disk: Any, devices: str) -> None:
    disk.begin(jobs["dataset"], device=devices)
    text = "\n".join(line.plain for line in lines(look(), 80))
    number = {"0": "1 GPU", "1,3": "2 GPUs"}[devices]
    assert f"{number} of 4 in use: GPU {devices.replace(',', ', ')}\n" in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_too_wide(look: Callable[[], View], jobs: Jobs, disk: Any, width: int) -> None:
    busy(jobs, disk)
    shown = [line.plain for line in lines(look(), width)]
    table = range(*[i for i, line in enumerate(shown) if not line][:2])  # its columns have their own width
    assert all(cell_len(line) <= width for i, line in enumerate(shown) if i not in table or width >= 80)


@pytest.mark.parametrize("height", [14, 24])
def test_what_does_not_fit_is_counted(look: Callable[[], View], jobs: Jobs, disk: Any, height: int, plan: Plan) -> None:
    disk.make(jobs["dataset"])
    for trial in range(30):
        job = jobs["first"].model_copy(update={"trial": trial, "words": f"many.t{trial}"})
        plan.jobs[job.folder] = job
        disk.begin(job, what="w", epoch=1, epochs=2, figures=FIGURES)
    small = plan.studies["small"]
    plan.studies["small"] = small.model_copy(update={"artifacts": tuple(plan.jobs)})
    shown = [line.plain for line in lines(look(), 80, height)]
    assert len(shown) <= height
    listed = sum("many.t" in line for line in shown)
    assert f"… and {30 - listed} more" in "\n".join(shown)


def test_a_line_says_the_gist(look: Callable[[], View], jobs: Jobs, disk: Any) -> None:
    busy(jobs, disk)
    view = look()
    assert one_line(view).partition(" ")[2] == (
        "1 of 5 jobs done, 1 running, 1 waiting, 1 failed, 1 blocked; about 7 min left, 1 job roughly guessed; "
        f"at work: {jobs['first'].name} epoch 3/10"
    )
    (failed,) = view.of(State.FAILED)
    assert failure(failed).endswith(f"(logs/source/{jobs['second'].name}.log)")


def test_a_run_without_times_says_so(look: Callable[[], View]) -> None:
    assert "time left unknown: no such job has run yet; no job at work" in one_line(look())


def finish(plan: Plan, jobs: Jobs, disk: Any) -> None:
    for job in jobs.values():
        disk.make(job)
    marker = plan.root / plan.studies["small"].marker
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text("{}")


def options(**given: Any) -> watch.argparse.Namespace:
    known = {"studies": [], "once": False, "wait": False, "configfile": None, "config": []}
    return watch.argparse.Namespace(**{**known, **given})


def test_watching_ends_with_the_run(
    plan: Plan, jobs: Jobs, disk: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(seconds: float) -> None:
        finish(plan, jobs, disk)

    monkeypatch.setattr(watch.time, "sleep", wait)
    assert watch.run(plan, options()) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Nothing runs here yet: waiting for 15 s (--wait: as long as it takes)"
    assert len(said) == 3
    assert said[2].endswith(" all 5 jobs done")


def test_watching_ends_when_a_failure_leaves_nothing(plan: Plan, jobs: Jobs, disk: Any) -> None:
    finish(plan, jobs, disk)
    (plan.root / jobs["measured"].manifest).unlink()
    (plan.root / plan.studies["small"].marker).unlink()
    disk.begin(jobs["measured"])
    disk.end(jobs["measured"], error="no")
    # It failed before anybody watched: Snakemake may be about to try it again.
    late = Watcher(plan, ("small",), started=time.time() + 60)
    assert not late.is_over(late.view())
    watcher = Watcher(plan, ("small",), started=time.time() - 60)
    assert watcher.is_over(watcher.view())
    disk.begin(jobs["measured"])
    assert not watcher.is_over(watcher.view())
    disk.end(jobs["measured"], error="no")
    assert not watcher.is_over(watcher.view())  # a retry takes its moment


class Clock:
    """Time that passes while one sleeps, and what happens meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *happens: tuple[float, Callable[[], None]]) -> None:
        self.now = self.start = time.time()
        self.happens = list(happens)
        monkeypatch.setattr(watch.time, "sleep", self.sleep)
        monkeypatch.setattr("tessera.monitor.view.time.time", lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now - self.start < 1000, "this does not end"
        while self.happens and self.passed >= self.happens[0][0]:
            self.happens.pop(0)[1]()

    @property
    def passed(self) -> float:
        return self.now - self.start


def test_watching_ends_where_nothing_runs(
    plan: Plan, jobs: Jobs, disk: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.make(jobs["dataset"])
    clock = Clock(monkeypatch)
    given = options(studies=["small"], configfile=["config/my own.yaml"], config=["trials=2"])
    assert watch.run(plan, given) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Nothing runs here: made are 1 of 5 jobs. "
        "Start it with: snakemake --cores all small --configfile 'config/my own.yaml' --config trials=2"
    )
    assert 15 <= clock.passed < 20


def test_watching_waits_for_a_run_that_begins_beside_it(
    plan: Plan, jobs: Jobs, disk: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Snakemake plans for some seconds, has a lock before its first job, and jobs may wait in a queue."""
    lock = plan.root / ".snakemake" / "locks" / "0.input.lock"
    lock.parent.mkdir(parents=True)
    clock = Clock(monkeypatch, (13, lock.touch), (200, lambda: finish(plan, jobs, disk)))
    assert watch.run(plan, options()) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" all 5 jobs done")
    assert clock.passed >= 200


def test_watching_ends_when_snakemake_has_ended_before_all_was_made(
    plan: Plan, jobs: Jobs, disk: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = plan.root / ".snakemake" / "locks" / "0.input.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    clock = Clock(monkeypatch, (99, lock.unlink))  # between two looks
    assert watch.run(plan, options()) == 1
    assert "Nothing runs here: made are 0 of 5 jobs." in capsys.readouterr().out
    assert 99 + 13 <= clock.passed < 99 + 20


def test_wait_waits(
    plan: Plan, jobs: Jobs, disk: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch, (600, lambda: finish(plan, jobs, disk)))
    assert watch.run(plan, options(wait=True)) == 0
    assert capsys.readouterr().out.splitlines()[0] == "Nothing runs here yet: waiting"
    assert clock.passed >= 600


def test_control_c_ends_it_quietly(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupt)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert watch.run(plan, options()) == 0


def test_one_look(plan: Plan, jobs: Jobs, disk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    busy(jobs, disk)
    assert watch.run(plan, options(studies=["small"], once=True)) == 0
    assert "1 of 5 jobs done" in capsys.readouterr().out
