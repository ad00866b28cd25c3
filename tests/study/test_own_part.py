"""A user's own part: named in YAML as `package.module:Class`, validated like a built-in one, with no fork."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tessera import registry
from tessera.errors import StudyError
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
