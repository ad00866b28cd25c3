"""What does not go together: each part says it itself, a part of one's own too, and all of it is told at once."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]

MODULE = '''
from tessera.multitask.balancing.options import EqualOptions
from tessera.tasks.options import TaskOptions
from tessera.transfer.options import TransferOptions

class PickyOptions(TaskOptions):
    def clashes(self, whole):
        yield from super().clashes(whole)
        if whole.batch_size > 4:
            yield f"it wants 4 images a batch, but source.batch_size is {whole.batch_size}"

class Picky:
    """Wants small batches."""
    Options = PickyOptions

class CarelessOptions(TaskOptions):
    def clashes(self, whole):
        yield f"{whole.no_such_attribute}"

class Careless:
    """Its options end in an error."""
    Options = CarelessOptions

class SilentOptions(TransferOptions):
    def clashes(self, whole):
        return None

class Silent:
    """Its options yield nothing."""
    Options = SilentOptions
'''


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picky_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picky_parts", raising=False)


def told(plan_of: PlanOf, changes: dict[str, Any]) -> list[str]:
    with pytest.raises(StudyError) as caught:
        plan_of(changes)
    return str(caught.value).splitlines()


def test_all_that_clashes_is_told_at_once_once_a_line(plan_of: PlanOf) -> None:
    lines = told(
        plan_of,
        {
            "base/source/tasks": ["jigsaw", "jigsaw"],
            "base/source/fusion": {"name": "tte", "alpha": "fixed", "alpha_values": [1.0]},
            "base/source/method": None,
            "base/source/schedule": "joint",
            "base/target/augmentation": "ssd",
            "base/target/metric": "mAP",
            "base/transfer": "source_only",
            "grid/rows": {"source.batch_size": [8, 16]},
            "also": [],
        },
    )
    expected = [
        "`source`: tasks names a task twice: jigsaw, jigsaw",
        "`source`: fusion `tte` needs weights of each task's own turn, which schedule `joint` has not: use",
        "`source`: fusion.alpha_values has 1 values for 2 tasks",
        "`transfer`: transfer `source_only` measures the source's own classifier, but no task of the source",
        "`target`: augmentation `ssd` is made for boxes",
        "`target`: protocol `classification` has no metric `mAP`",
    ]
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert line.startswith("config/studies/small.yaml")
        assert words in line


def test_rows_of_other_mistakes_are_all_told(plan_of: PlanOf) -> None:
    rows = [{"label": "a", "transfer": "source_only"}, {"label": "b", "transfer": "fsp", "target.network": "ssd300"}]
    lines = told(plan_of, {"grid/rows": rows, "also": []})
    assert any("row 'a'" in line and "`source_only` measures" in line for line in lines)
    assert any("`fsp` cannot train a network that detects" in line for line in lines)


def test_a_part_of_one_s_own_says_what_it_does_not_go_with(plan_of: PlanOf) -> None:
    tasks = {"base/source/tasks": ["jigsaw", "picky_parts:Picky"]}
    (line,) = told(plan_of, {**tasks, "base/source/batch_size": 8})
    assert line.startswith("config/studies/small.yaml (row 'equal', ")
    assert line.endswith(": `source`: tasks[1]: it wants 4 images a batch, but source.batch_size is 8")
    assert plan_of({**tasks, "base/source/batch_size": 4}).jobs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base/source/tasks": ["picky_parts:Careless"]}, r"a part of your own \(`picky_parts:Careless`\) end in Attr"),
        ({"base/transfer": "picky_parts:Silent"}, r"a part of your own \(`picky_parts:Silent`\) end in TypeError"),
    ],
)
def test_what_its_clashes_end_in_is_told_as_its_own(plan_of: PlanOf, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        plan_of(changes)
