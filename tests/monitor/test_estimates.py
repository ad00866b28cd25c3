"""How long jobs take, by what earlier ones took."""

from typing import Any

import pytest

from tessera.jobs import Job
from tessera.monitor.estimates import Estimate, Estimates, images_of
from tessera.monitor.standing import Standing, State
from tessera.monitor.time_left import time_left
from tessera.told import Told

Jobs = dict[str, Job]
HERE = ("this", "cpu")


def changed(job: Job, **source: Any) -> Job:
    """The same pretraining with other settings."""
    return job.model_copy(update={"settings": {"source": {**job.settings["source"], **source}}})


def estimates(disk: Any, *made: tuple[Job, float], **hardware: str) -> Estimates:
    """From these jobs and their seconds."""
    found = Estimates(HERE)
    for job, seconds in made:
        found.learn(disk.make(job, seconds, **hardware))
    return found


def test_another_trial_takes_as_long(jobs: Jobs, disk: Any) -> None:
    estimate = estimates(disk, (jobs["first"], 50.0)).of_job(jobs["second"])
    assert estimate is not None
    assert (estimate.seconds, estimate.earlier, estimate.here) == (50.0, {jobs["first"].name}, True)


def test_the_nearest_kin_counts_alone(jobs: Jobs, disk: Any) -> None:
    longer = changed(jobs["first"], epochs=20)
    other = changed(jobs["first"], fusion={"name": "tte"})
    found = estimates(disk, (jobs["first"], 50.0), (longer, 400.0), (other, 70.0)).of_job(jobs["second"])
    assert found is not None
    assert found.seconds == 50.0


def test_a_longer_training_takes_longer_in_proportion(jobs: Jobs, disk: Any) -> None:
    found = estimates(disk, (jobs["first"], 50.0))
    assert images_of(jobs["first"].settings) == 1000
    twice = changed(jobs["second"], epochs=10, iterations=20)
    assert found.of_job(twice).seconds == pytest.approx(100.0)  # type: ignore[union-attr]
    two_tasks = changed(jobs["second"], tasks=[{"name": "a"}, {"name": "b"}])
    assert found.of_job(two_tasks).seconds == pytest.approx(100.0)  # type: ignore[union-attr]
    assert not found.of_job(twice).rough  # type: ignore[union-attr]
    assert found.of_job(changed(jobs["second"], epochs=101)).rough  # type: ignore[union-attr]  # too far away to say
    assert found.of_job(jobs["dataset"]) is None  # a training says nothing of it


def test_what_has_not_run_is_guessed_from_other_kinds(jobs: Jobs, disk: Any) -> None:
    found = estimates(disk, (jobs["first"], 50.0), (jobs["dataset"], 7.0))
    bigger = found.of_job(changed(jobs["second"], encoder={"name": "resnet26"}, epochs=20))
    assert bigger is not None
    assert bigger.rough
    assert bigger.seconds == pytest.approx(50 * 2 * 55 / 12.5)  # twice the images, each so much dearer
    larger = found.of_job(changed(jobs["second"], encoder={"name": "resnet26"}, dataset={"image_size": 64}))
    assert larger.seconds == pytest.approx(50 * 4 * 55 / 12.5)  # type: ignore[union-attr]
    own = found.of_job(changed(jobs["second"], encoder={"name": "my_module:Net"}))
    assert (own.seconds, own.rough) == (50.0, True)  # type: ignore[union-attr]
    settings = {"epochs": 4, "iterations": 25, "batch_size": 10}
    student = Job(stage="transfer_knowledge", words="w.t0", version=1, trial=0, settings=settings, inputs={})
    assert found.of_job(student).seconds == pytest.approx(50.0)  # type: ignore[union-attr]  # by its images alone
    measured = found.of_job(jobs["measured"])
    assert (measured.seconds, measured.rough, measured.here) == (7.0, True, True)  # type: ignore[union-attr]


def test_before_anything_ran_here_other_machines_are_asked(jobs: Jobs, disk: Any) -> None:
    found = estimates(disk, (jobs["first"], 50.0), processor="another")
    guess = found.of_job(changed(jobs["second"], encoder={"name": "resnet26"}))
    assert guess is not None
    assert (guess.rough, guess.here) == (True, False)
    assert found.of_job(jobs["second"]) == Estimate(50.0, frozenset({jobs["first"].name}), False)


def test_times_of_this_machine_come_first(jobs: Jobs, disk: Any) -> None:
    found = estimates(disk, (jobs["first"], 50.0), device="cuda")
    elsewhere = found.of_job(jobs["second"])
    assert elsewhere is not None
    assert (elsewhere.seconds, elsewhere.here) == (50.0, False)
    found.learn(disk.make(changed(jobs["first"], fusion={"name": "tte"}), 9.0))
    here = found.of_job(jobs["second"])
    assert here is not None
    assert (here.seconds, here.here) == (9.0, True)


def test_a_damaged_manifest_says_nothing(jobs: Jobs, disk: Any) -> None:
    found = Estimates(HERE)
    disk.make(jobs["first"]).write_text("{")
    found.learn(disk.root / jobs["first"].manifest)
    found.learn(disk.root / "nowhere")
    assert found.of_job(jobs["second"]) is None


def standing(job: Job, state: State = State.WAITING, told: Told | None = None) -> Standing:
    return Standing(job.stage, job.name, state, "log", job, told)


def told(**says: Any) -> Told:
    return Told(pid=1, host="h", started=1000.0, **says)


def test_the_rest_is_played_through(jobs: Jobs, disk: Any) -> None:
    found = estimates(disk, (jobs["dataset"], 10.0), (jobs["first"], 50.0), (jobs["measured"], 5.0))
    waiting = [standing(job) for job in jobs.values()]
    # One after the other; then both trainings at once, and the measurement after the first of them.
    assert time_left(waiting, found, 1).seconds == 10 + 50 + 50 + 5
    assert time_left(waiting, found, 4).seconds == 10 + 50 + 5
    assert time_left([], found, 4).seconds == 0


def test_a_running_job_knows_best(jobs: Jobs, disk: Any) -> None:
    found = estimates(disk, (jobs["first"], 50.0))
    half = told(what="pretrain_source", epoch=5, epochs=10, remaining_s=20.0, at=1030.0)
    assert time_left([standing(jobs["second"], State.RUNNING, half)], found, 1, now=1033.0).seconds == 17
    begun = told()
    assert time_left([standing(jobs["second"], State.RUNNING, begun)], found, 1, now=1036.0).seconds == 14
    assert time_left([standing(jobs["second"], State.RUNNING, begun)], found, 1, now=2000.0).seconds == 0


def test_an_epoch_that_takes_longer_takes_nothing_from_the_others(jobs: Jobs, disk: Any) -> None:
    """By its speed an epoch takes 40 s, so two are left for at least 40 s, whatever the clock says."""
    found = estimates(disk, (jobs["first"], 5.0))
    slow = told(what="pretrain_source", epoch=1, epochs=3, epoch_s=40.0, remaining_s=80.0, at=1040.0)
    rest = [
        time_left([standing(jobs["second"], State.RUNNING, slow)], found, 1, now=now).seconds for now in (1050, 1113)
    ]
    assert rest == [70.0, 40.0]


def test_before_its_first_epoch_is_done_a_job_knows_that_it_is_slow(jobs: Jobs, disk: Any) -> None:
    found = estimates(disk, (jobs["first"], 37.0))
    begun = told(what="pretrain_source", epoch=0, epochs=3, at=1000.0)
    assert time_left([standing(jobs["second"], State.RUNNING, begun)], found, 1, now=1030.0).seconds == 60.0


def test_a_first_stage_is_not_all(jobs: Jobs) -> None:
    settings = {"epochs": 10, "first_stage_epochs": 2, "iterations": 1, "batch_size": 1}
    job = Job(stage="transfer_knowledge", words="w.t0", version=1, trial=0, settings=settings, inputs={})
    first = told(what="fsp, first stage", epoch=1, epochs=2, epoch_s=3.0, remaining_s=3.0, at=1000.0)
    second = told(what="fsp, second stage", epoch=1, epochs=10, epoch_s=3.0, remaining_s=27.0, at=1000.0)
    for says, left in ((first, 3 + 30), (second, 27)):
        assert time_left([standing(job, State.RUNNING, says)], Estimates(HERE), 1, now=1000.0).seconds == left


def test_what_is_unknown_is_counted(jobs: Jobs, disk: Any) -> None:
    left = time_left([standing(job) for job in jobs.values()], estimates(disk, (jobs["dataset"], 10.0)), 1)
    assert (left.seconds, left.unknown, left.rough) == (20.0, 2, 1)  # two trainings, and a guess of the measurement
