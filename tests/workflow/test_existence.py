"""Existence is the only criterion: what is there is never made again, and what is gone is made again alone."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tessera.report.marker import stated
from tessera.study.plan import Plan, make_plan

ROOT = Path(__file__).parent.parent.parent
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


@pytest.mark.parametrize(
    "stage",
    [
        "prepare_dataset",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("pretrain_source", "evaluate_target")),
    ],
)
def test_deleting_an_artifact_plans_that_job_and_nothing_else(run: Run, project: Path, made: Plan, stage: str) -> None:
    job = next(job for job in made.jobs.values() if job.stage == stage)
    shutil.rmtree(project / job.folder)
    assert planned(run, project) == {stage: 1}


def test_deleting_the_marker_refreshes_the_tables_alone(run: Run, project: Path, made: Plan) -> None:
    (project / made.studies["tiny"].marker).unlink()
    assert planned(run, project) == {"summarize_study": 1}


@pytest.mark.parametrize("what", ["gone", "changed"])
@pytest.mark.slow
def test_a_result_file_that_is_not_as_it_was_written_refreshes_the_tables(
    run: Run, project: Path, made: Plan, what: str
) -> None:
    marker, table = project / made.studies["tiny"].marker, project / "results" / "tiny" / "table.csv"
    results = {"index.html", "metrics/tiny/row.column.json", "plots/tiny.csv", "tiny/table.csv"}
    for name in results:
        (project / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "results" / name).write_text("as it was")
    marker.write_text(json.dumps({"files": stated({"table.csv": b"as it was"})}))
    os.utime(marker, (1e9, 1e9))
    if what == "gone":
        os.utime(marker.parent, (1e9, 1e9))
        table.unlink()
    else:
        table.write_text("as it is!")
    done = run("snakemake", "-n", at=project)
    assert f"results/tiny/table.csv {'is missing' if what == 'gone' else 'was changed'}: the results" in done.stderr
    assert "summarize_study        1" in done.stdout + done.stderr
    assert marker.exists()  # a dry run changes nothing


def test_a_folder_that_cannot_be_written_to_is_told_in_a_line(run: Run, project: Path) -> None:
    (project / "resume").mkdir()
    (project / "fixed").mkdir()
    # Whoever runs the tests may write everywhere, if it is root.
    (project / "fixed" / "sitecustomize.py").write_text(
        "import os\nasked = os.access\nos.access = lambda path, how: path != 'resume' and asked(path, how)\n"
    )
    path = os.pathsep.join([str(project / "fixed"), str(ROOT / "workflow")])
    done = run("snakemake", "-n", at=project, code=1, PYTHONPATH=path)
    assert "Traceback" not in done.stdout + done.stderr
    assert f"error: {project}/resume cannot be written to" in done.stderr


@pytest.mark.slow
def test_what_is_made_is_drawn_with_all_that_it_came_of(run: Run, project: Path, made: Plan) -> None:
    drawn = run("snakemake", "--dag", at=project).stdout
    jobs = [*made.jobs.values()]
    read = sum(len(set(job.inputs.values())) for job in jobs) + len(made.studies["tiny"].artifacts)
    into_all = len(jobs) + 1
    assert drawn.count(" -> ") == read + into_all
    # Dashed: nothing of it is to be done.
    assert drawn.count("dashed") >= len(jobs) + 1
