"""What was damaged is told in a line by the run that finds it, and made again by the next."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def snakemake(run: Run, project: Path, code: int = 0) -> str:
    done = run("snakemake", "--cores", "1", at=project, code=code)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_results_and_the_figures_that_they_show_are_made_again(run: Run, project: Path) -> None:
    snakemake(run, project)
    results = project / "results" / "tiny"
    (marker,) = results.glob("provenance-*.json")
    before = {path.name: path.read_bytes() for path in results.iterdir() if path.is_file()}

    (results / "table.csv").unlink()
    assert "results/tiny/table.csv is missing: the results of `tiny` are made again\n" in snakemake(run, project)
    (results / "report.html").write_text("<p>mine</p>")
    said = snakemake(run, project)
    assert (
        "results/tiny/report.html was changed: the results of `tiny` are made again; what was there is kept in" in said
    )
    assert [path.read_text() for path in project.glob("resume/damaged/*/report.html")] == ["<p>mine</p>"]
    assert {path.name: path.read_bytes() for path in results.iterdir() if path.is_file()} == before
    assert "Nothing to be done" in snakemake(run, project)

    measured = sorted(project.glob("artifacts/target/*/metrics.json"))[0]
    figures = measured.read_text()
    measured.write_text(figures.replace('"accuracy": ', '"accuracy": 9'))
    marker.unlink()
    said = snakemake(run, project, code=1)
    assert f"  {measured.parent.relative_to(project)}: metrics.json has" in said
    assert "the next run makes it again." in said
    assert "Traceback" not in said
    assert not measured.exists()
    snakemake(run, project)
    assert measured.read_text() == figures
    assert (results / "table.csv").read_bytes() == before["table.csv"]


@pytest.mark.slow
def test_another_artifact_in_the_place_of_one_is_never_measured(run: Run, project: Path) -> None:
    snakemake(run, project)
    first, second = sorted(project.glob("artifacts/source/*"))
    subprocess.run(["rm", "-r", second], check=True)
    subprocess.run(["cp", "-r", first, second], check=True)
    for measured in project.glob("artifacts/target/*"):
        subprocess.run(["rm", "-r", measured], check=True)
    said = snakemake(run, project, code=1)
    assert f"{second.relative_to(project)}: artifact.json is that of another artifact, source/{first.name}" in said
    snakemake(run, project)
    assert "100%" in said or second.exists()
