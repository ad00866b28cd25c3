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
from tessera.multitask.balancing.options.losses import EqualOptions
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


def test_more_layers_to_freeze_than_there_are_are_told(plan_of: PlanOf) -> None:
    frozen = {"base/transfer": {"method": "fine_tune", "freeze_layers": 4}}
    assert plan_of(frozen).jobs
    frozen["base/transfer"]["freeze_layers"] = 5
    assert (
        "freeze_layers: 5, but encoder `resnet8` has 4 named layers (stem, stage1, stage2, stage3): lower it"
        in " ".join(told(plan_of, frozen))
    )


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
        "`transfer`: transfer `source_only` reads the source's own classifier, but no task of the source",
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
    assert any("row 'a'" in line and "`source_only` reads" in line for line in lines)
    assert any("`fsp` cannot train a network that detects" in line for line in lines)


def test_a_part_of_one_s_own_says_what_it_does_not_go_with(plan_of: PlanOf) -> None:
    tasks = {"base/source/tasks": ["jigsaw", "picky_parts:Picky"]}
    (line,) = told(plan_of, {**tasks, "base/source/batch_size": 8})
    assert line.startswith("config/studies/small.yaml (row 'equal', ")
    assert line.endswith(": `source`: tasks[1]: it wants 4 images a batch, but source.batch_size is 8")
    assert plan_of({**tasks, "base/source/batch_size": 4}).jobs


def test_what_two_parts_of_one_s_own_end_in_is_told_of_both(plan_of: PlanOf) -> None:
    rows = [
        {"label": "a", "transfer": "picky_parts:Silent"},
        {"label": "b", "source.tasks": ["picky_parts:Careless"]},
    ]
    lines = told(plan_of, {"grid/rows": rows, "also": []})
    assert any("row 'a'" in line and "TypeError" in line for line in lines)
    assert any("row 'b'" in line and "AttributeError" in line for line in lines)


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


def test_what_does_not_go_with_shared_inputs_is_told(plan_of: PlanOf) -> None:
    lines = told(
        plan_of, {"base/source/schedule": {"name": "joint", "inputs": "shared"}, "base/source/method": "equal"}
    )
    assert any("task `jigsaw` makes inputs of its own, which other tasks cannot see" in line for line in lines)
    gray = {"base/source/tasks": ["classification"], "base/source/harmonize": True, "base/source/method": "equal"}
    lines = told(plan_of, {**gray, "base/source/schedule": {"name": "joint", "inputs": "shared"}})
    assert any("set source.harmonize to false" in line for line in lines)


COMPARING = '''
from tessera.multitask.balancing.base import Balancing
from tessera.multitask.balancing.options import ComparingOptions

class NormsOptions(ComparingOptions):
    """Toy."""

class Norms(Balancing):
    """Compares gradients."""
    Options = NormsOptions
'''


def test_a_balancing_that_compares_needs_several_tasks_a_step_and_one_map(plan_of: PlanOf, tmp_path: Path) -> None:
    (tmp_path / "picky_parts.py").write_text(COMPARING)
    name = {"name": "picky_parts:Norms"}
    turns = {"base/source/balancing": name, "base/source/method": "equal", "base/source/schedule": "round_robin"}
    assert any("takes one task a step: use `joint`" in line for line in told(plan_of, turns))
    own = {"base/source/balancing": {**name, "of": "features"}, "base/source/method": "equal"}
    assert any(
        "set schedule.inputs to `shared`, or balancing.of to `parameters`" in line for line in told(plan_of, own)
    )


def test_two_tasks_of_one_key_and_an_unknown_column_are_told(plan_of: PlanOf) -> None:
    twice = [
        {"name": "classification", "labels": "digit"},
        {"name": "classification", "labels": "digit", "hidden": [8]},
    ]
    digits = {"base/source/dataset": "digits_m", "base/source/method": "equal"}
    lines = told(plan_of, {**digits, "base/source/tasks": twice})
    assert any("classification.digit" in line and "twice" in line for line in lines), lines
    unknown = [{"name": "classification", "labels": "digits"}]
    lines = told(plan_of, {**digits, "base/source/tasks": unknown})
    assert any("no label column `digits`. Did you mean 'digit'?" in line for line in lines)


def test_a_dataset_of_an_older_version_names_the_folder_to_delete(plan_of: PlanOf, tmp_path: Path) -> None:
    reads = {
        "base/source/dataset": "digits_m",
        "base/source/method": "equal",
        "base/source/tasks": [{"name": "classification", "labels": "zoom"}],
    }
    plan = plan_of(reads)
    (folder,) = {
        job.inputs["dataset"] for job in plan.jobs.values() if job.stage == "pretrain_source" and job.inputs["dataset"]
    }
    about = plan.root / folder / "dataset.json"
    about.parent.mkdir(parents=True)
    about.write_text('{"format": "array", "classes": ["0", "1"]}')
    (line,) = told(plan_of, reads)
    assert f"{folder}: has no label columns beside the class (an older version made it). Delete the folder" in line
    about.write_text('{"format": "array", "classes": ["0", "1"], "columns": {"digit": {}}}')
    (line,) = told(plan_of, reads)
    assert "has no label column `zoom`" in line
    about.write_text('{"format": "array", "classes": ["0", "1"], "columns": {"zoom": {}}}')
    assert plan_of(reads).jobs.keys() == plan.jobs.keys()


SHARING: list[tuple[dict[str, dict[str, Any]], str]] = [
    (
        {"source": {"sharing": "cross_stitch", "method": "tte"}},
        "sharing `cross_stitch` has an encoder for each task, but fusion `tte` makes one of those of the tasks' turns: "
        "set fusion to `none`",
    ),
    (
        {"source": {"sharing": "cross_stitch", "method": "equal", "regularizer": "divergence"}},
        "sharing `cross_stitch` has an encoder for each task, but regularizer `divergence` compares with one earlier "
        "encoder: set regularizer.anchor to another, or regularizer to `none`",
    ),
    (
        {"source": {"sharing": {"name": "cross_stitch", "export": "jigsw"}, "method": "equal"}},
        "sharing.export is `jigsw`, which is no task. Did you mean 'jigsaw'? Known: colorization, jigsaw.",
    ),
    (
        {"source": {"sharing": {"name": "model_patch", "export": "depth"}, "method": "equal"}},
        "sharing.export is `depth`, which is no task. Known: colorization, jigsaw.",
    ),
    (
        {"source": {"sharing": "model_patch", "encoder": "vgg16", "method": "equal"}},
        "sharing.kind is `batch_norm`, but encoder `vgg16` has no batch norm as it is set: set kind to `depthwise`, or "
        "choose another encoder",
    ),
    (
        {"source": {"sharing": {"name": "model_patch", "kind": "depthwise", "export": "jigsaw"}, "method": "equal"}},
        "export: goes with kind: batch_norm alone, for depthwise convolutions have no place in the encoder, which is "
        "handed on without them: leave export out",
    ),
    (
        {
            "source": {
                "sharing": "mtan",
                "method": "equal",
                "tasks": ["classification", "rotation"],
                "schedule": {"name": "joint", "inputs": "shared"},
                "balancing": {"name": "mgda", "of": "features"},
            }
        },
        "but sharing `mtan` gives the heads several: use `hard`, or set balancing.of to `parameters`",
    ),
    (
        {
            "source": {"sharing": "mtan", "tasks": ["classification"], "method": "equal"},
            "transfer": {"method": "source_only"},
        },
        "under sharing `mtan`: use `hard`",
    ),
]


@pytest.mark.parametrize(("settings", "message"), SHARING, ids=[message[:40] for _, message in SHARING])
def test_what_a_way_of_sharing_does_not_go_with_is_told(
    plan_of: PlanOf, settings: dict[str, dict[str, Any]], message: str
) -> None:
    changes = {f"base/{part}/{key}": value for part, of in settings.items() for key, value in of.items()}
    lines = told(plan_of, {**changes, "grid": {"columns": {"target.label_fraction": [0.1, 1.0]}}, "also": None})
    assert any(message in line for line in lines), lines


def test_held_out_training_images_are_not_what_the_source_learns_from(plan_of: PlanOf) -> None:
    def plan(source: dict[str, Any], target: dict[str, Any], **changes: Any) -> Plan:
        keys = {"base/source/dataset": {"name": "digits_m", "copies": 2} | source}
        return plan_of({**keys, "base/target/dataset": {"name": "digits_m", "copies": 2} | target, **changes})

    held_out = {"within": "train"}
    with pytest.raises(StudyError, match=r"learns from all of them: say `within: train` in source\.dataset"):
        plan({}, held_out)
    with pytest.raises(StudyError, match="the source learns from all of them"):  # C10s is a part of CIFAR-10
        plan_of({"base/source/dataset": "cifar10", "base/target/dataset": {"name": "c10s", **held_out}}, scale="paper")
    assert plan(held_out, held_out).jobs
    assert plan(held_out, {}).jobs  # fewer images to learn from: no image is read twice
    untrained = {"grid/rows": {"source.method": ["random"]}}
    assert plan({}, held_out, **untrained).jobs
