"""Existence is the only criterion: what is there is never made again, and what is gone is made again alone."""

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tessera.study.plan import Plan, make_plan

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def made(project: Path) -> Plan:
    """The plan of the small study, everything in it made (Snakemake looks at manifests and markers only)."""
    plan = make_plan(yaml.safe_load((project / "config/config.yaml").read_text()), project)
    for job in plan.jobs.values():
        (project / job.folder).mkdir(parents=True)
        (project / job.manifest).write_text("{}")
    marker = project / plan.studies["tiny"].marker
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    return plan


def planned(run: Run, project: Path) -> dict[str, int]:
    """How many jobs of each rule a dry run wants; it misses nothing of what Snakemake keeps for itself of a run."""
    done = run("snakemake", "-n", at=project)
    assert "missing provenance" not in done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    table = {words[0]: int(words[1]) for words in map(str.split, lines) if len(words) == 2 and words[1].isdigit()}
    return {rule: number for rule, number in table.items() if rule not in ("total", "all", "jobid:")}


def test_touching_files_in_any_order_plans_nothing(run: Run, project: Path, made: Plan) -> None:
    files = [project / job.manifest for job in made.jobs.values()] + [project / made.studies["tiny"].marker]
    random.Random(0).shuffle(files)
    for age, file in enumerate(files):
        os.utime(file, (1e9 + age, 1e9 + age))
    assert planned(run, project) == {}


@pytest.mark.parametrize("stage", ["prepare_dataset", "pretrain_source", "evaluate_target"])
def test_deleting_an_artifact_plans_that_job_and_nothing_else(run: Run, project: Path, made: Plan, stage: str) -> None:
    job = next(job for job in made.jobs.values() if job.stage == stage)
    shutil.rmtree(project / job.folder)
    assert planned(run, project) == {stage: 1}


def test_deleting_the_marker_refreshes_the_tables_alone(run: Run, project: Path, made: Plan) -> None:
    (project / made.studies["tiny"].marker).unlink()
    assert planned(run, project) == {"summarize_study": 1}


def test_what_is_made_is_drawn_with_all_that_it_came_of(run: Run, project: Path, made: Plan) -> None:
    drawn = run("snakemake", "--dag", at=project).stdout
    jobs = [*made.jobs.values()]
    read = sum(len(set(job.inputs.values())) for job in jobs) + len(made.studies["tiny"].artifacts)
    into_all = len(jobs) + 1
    assert drawn.count(" -> ") == read + into_all
    # Dashed: nothing of it is to be done.
    assert drawn.count("dashed") >= len(jobs) + 1
