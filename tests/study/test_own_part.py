"""A user's own part: named in YAML as `package.module:Class`, validated like a built-in one, with no fork."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tessera import registry
from tessera.errors import StudyError
from tessera.explain.facts import Lineage, changes
from tessera.explain.recipe import Shelf, of_job
from tessera.own_code import own_code, refuse_other_code
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]

MODULE = '''
from pydantic import Field
from tessera.registry import Options as BaseOptions
from tessera.tasks.options import TaskOptions

class QuarterTurnOptions(TaskOptions):
    turns: int = Field(4, ge=2, le=4)

class QuarterTurn:
    """By how many quarter turns was the image rotated?"""
    Options = QuarterTurnOptions

class Jigsaw(QuarterTurn):
    """A class that is called as a part of Tessera."""

class NoOptions:
    pass
'''


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_own_tasks", "other_tasks", "my_package", "my_package.nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_it_is_planned_with_its_options(plan_of: PlanOf) -> None:
    plan = plan_of({"base/source/tasks": ["jigsaw", {"name": "my_own_tasks:QuarterTurn", "turns": 2}]})
    tasks = [job.settings["source"]["tasks"] for job in plan.jobs.values() if job.stage == "pretrain_source"]
    assert all(task[1] == {"name": "my_own_tasks:QuarterTurn", "turns": 2} for task in tasks)
    assert all("/" not in job.name and ":" not in job.name for job in plan.jobs.values())
    assert any(".tte.jig-quarter_turn.t0-" in job.name for job in plan.jobs.values())
    assert registry.load("task", "my_own_tasks:QuarterTurn").__name__ == "QuarterTurn"


def test_rows_and_columns_are_called_after_the_class(plan_of: PlanOf) -> None:
    turns = {"source.tasks": [["jigsaw"], ["my_own_tasks:QuarterTurn"], [{"name": "my_own_tasks:Jigsaw", "turns": 2}]]}
    plan = plan_of({"base/source/method": "single", "grid/rows": turns, "also": []})
    assert plan.studies["small"].rows == ("jigsaw", "quarter_turn", "my_own_tasks_jigsaw turns=2")


def test_two_tasks_of_one_name_are_refused(plan_of: PlanOf, tmp_path: Path) -> None:
    (tmp_path / "other_tasks.py").write_text(MODULE)
    both = {"source.tasks": [["my_own_tasks:QuarterTurn"], [{"name": "other_tasks:QuarterTurn", "turns": 3}]]}
    with pytest.raises(StudyError, match="`other_tasks:QuarterTurn` are both called 'quarter_turn' in tables"):
        plan_of({"base/source/method": "single", "grid/rows": both, "also": []})


def test_its_mistakes_are_told_like_any(plan_of: PlanOf) -> None:
    with pytest.raises(StudyError, match=r"`source.tasks\[0\].turn`: unknown key. Did you mean 'turns'\?"):
        plan_of({"base/source/tasks": [{"name": "my_own_tasks:QuarterTurn", "turn": 2}]})
    with pytest.raises(StudyError, match="needs a class attribute `Options`"):
        plan_of({"base/source/tasks": ["my_own_tasks:NoOptions"]})
    with pytest.raises(StudyError, match="Cannot import `my_own_tasks:Missing`"):
        plan_of({"base/source/tasks": ["my_own_tasks:Missing"]})


TWO_TASKS = {"base/source/tasks": ["jigsaw", "my_own_tasks:QuarterTurn"]}
SETTINGS = {"task": {"name": "my_own_tasks:QuarterTurn"}, "beside": [1, {"encoder": {"name": "my_package.nets:Net"}}]}


def keys(plan: Plan) -> dict[str, str]:
    """Words of each job, and its key."""
    return {job.words: job.key for job in plan.jobs.values()}


def test_its_code_is_in_the_keys_of_what_uses_it_and_of_nothing_else(plan_of: PlanOf, tmp_path: Path) -> None:
    before = keys(plan_of(TWO_TASKS))
    (tmp_path / "my_own_tasks.py").write_text(MODULE + "loss = 2\n")
    after = keys(plan_of(TWO_TASKS))
    changed = {words for words in before if before[words] != after[words]}
    assert changed == {words for words in before if "quarter_turn" in words or "from-" in words}
    assert "digits_m.jigsaw" not in " ".join(changed)
    (tmp_path / "my_own_tasks.py").write_text(MODULE)
    assert keys(plan_of(TWO_TASKS)) == before


def test_a_version_stands_for_the_code(plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = registry.load("task", "my_own_tasks:QuarterTurn")
    monkeypatch.setattr(cls, "version", 1, raising=False)
    before = keys(plan_of(TWO_TASKS))
    (tmp_path / "my_own_tasks.py").write_text(MODULE + "# reformatted\n")
    assert keys(plan_of(TWO_TASKS)) == before
    monkeypatch.setattr(cls, "version", 2)
    assert keys(plan_of(TWO_TASKS)) != before
    monkeypatch.setattr(cls, "version", [2])
    with pytest.raises(StudyError, match=r"small\.yaml \(row .*\): `my_own_tasks:QuarterTurn`: .*should be a word"):
        plan_of(TWO_TASKS)


def test_every_file_of_its_package_counts(tmp_path: Path) -> None:
    package = tmp_path / "my_package"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "nets.py", "inner/__init__.py", "inner/helper.py"):
        (package / name).write_text("class Net: ...\n" if name == "nets.py" else "")
    found = own_code(SETTINGS, {}, "here")
    assert list(found) == ["my_own_tasks:QuarterTurn", "my_package.nets:Net"]
    (package / "inner/helper.py").write_text("width = 2\n")
    after = own_code(SETTINGS, {}, "here")
    assert after["my_package.nets:Net"] != found["my_package.nets:Net"]
    assert after["my_own_tasks:QuarterTurn"] == found["my_own_tasks:QuarterTurn"]
    (package / "notes.txt").write_text("no code")
    assert own_code(SETTINGS, {}, "here") == after
    refuse_other_code(after)
    with pytest.raises(StudyError, match=r"`my_package.nets:Net` has changed since this job was planned"):
        refuse_other_code(found)


def test_a_class_of_tessera_s_own_adds_nothing_to_keys() -> None:
    assert own_code({"name": "tessera.study.grid:Line"}, {}, "here") == {}
    assert own_code({"name": "jigsaw"}, {}, "here") == {}


def test_code_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    registry.import_target("my_own_tasks:QuarterTurn")
    (tmp_path / "my_own_tasks.py").unlink()
    with pytest.raises(StudyError, match=r"`my_own_tasks:QuarterTurn`: its code, .* give the class an attribute"):
        own_code({"name": "my_own_tasks:QuarterTurn"}, {}, "here")


def test_what_changed_is_told_as_the_code_of_the_part(plan_of: PlanOf, tmp_path: Path) -> None:
    jobs = []
    for text in (MODULE, MODULE + "loss = 2\n"):
        (tmp_path / "my_own_tasks.py").write_text(text)
        plan = plan_of(TWO_TASKS)
        jobs += [(plan, next(job for job in plan.jobs.values() if "tte.jig-quarter_turn.t0" in job.words))]
    facts = [Lineage(Shelf(plan)).of_recipe(of_job(job)) for plan, job in jobs]
    (change,) = changes(*facts)
    assert change.key == "code of my_own_tasks:QuarterTurn"
    other = next(job for job in plan_of({}).jobs.values() if ".tte.jig-col.t0" in job.words)
    told = changes(facts[0], Lineage(Shelf(plan_of({}))).of_recipe(of_job(other)))
    assert [change.key for change in told] == ["source.tasks"], "its code goes with the part"
