"""docs/adding_a_method.md, walked once: its blocks are written to disk, planned, and run as a stranger would."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tessera import registry
from tessera.study.plan import make_plan

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Run = Callable[..., object]


@pytest.fixture
def recipe(project: Path) -> Iterator[Path]:
    """A project with the page's files in it."""
    page = (ROOT / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
    for name, content in BLOCK.findall(page):
        path = project / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content, encoding="utf-8")
    assert (project / "config/studies/my_parts.yaml").is_file()
    yield project
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_parts"]:
        del sys.modules[name]


def test_every_family_has_a_part_on_the_page(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {path.stem for path in (recipe / "my_parts").glob("*.py")} == set(registry.FAMILIES)
    monkeypatch.syspath_prepend(recipe)
    plan = make_plan({"studies": ["my_parts"]}, recipe)
    used = {part for job in plan.jobs.values() for part in job.own_code}
    assert {part.partition(":")[0] for part in used} == {f"my_parts.{family}" for family in registry.FAMILIES}


@pytest.mark.slow
def test_the_study_runs_as_the_page_says(recipe: Path, run: Run) -> None:
    path = f"{recipe}:{ROOT / 'workflow'}"
    run("snakemake", "--cores", "2", "my_parts", at=recipe, PYTHONPATH=path)
    table = (recipe / "results/my_parts/table.md").read_text()
    assert all(row in table for row in ("equal", "inverse loss", "equal norms"))
    done = run("snakemake", "--cores", "2", "-n", "my_parts", at=recipe, PYTHONPATH=path)
    assert "Nothing to be done" in done.stdout + done.stderr  # type: ignore[attr-defined]
