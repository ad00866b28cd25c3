"""`target.labels` in a plan: which jobs get it, what it is refused for, and that it changes no key without need."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tessera.data.datasets.options.base import DatasetOptions
from tessera.data.labels import Kind
from tessera.errors import StudyError
from tessera.protocols.options import KnnOptions
from tessera.study.plan import Plan
from tessera.study.schema import Target

PlanOf = Callable[..., Plan]
READERS = ("transfer_knowledge", "evaluate_target", "cluster_target")
SCENES = {"name": "digits_scenes"}


def labels_of(plan: Plan) -> dict[str, set[str | None]]:
    """The columns that the jobs of each stage name."""
    found: dict[str, set[str | None]] = {}
    for job in plan.jobs.values():
        found.setdefault(job.stage, set()).add(job.settings.get("labels"))
    return found


@pytest.mark.parametrize("protocol", ["classification", "linear_probe", "svm", "few_shot", "clustering"])
def test_every_job_that_reads_labels_is_told_the_column(plan_of: PlanOf, protocol: str) -> None:
    base: dict[str, Any] = {"base/target/protocol": protocol, "grid/columns": None, "also": []}
    if protocol != "classification":
        base["base/transfer"] = None
    named, plain = plan_of({**base, "base/target/labels": "zoom"}), plan_of(base)
    for stage, columns in labels_of(named).items():
        assert columns == ({"zoom"} if stage in READERS else {None}), stage
    assert {column for columns in labels_of(plain).values() for column in columns} == {None}
    readers = {job.folder for job in named.jobs.values() if job.stage in READERS}
    assert {folder for folder in named.jobs if folder not in readers} <= plain.jobs.keys()  # images and source are one
    assert all(".zoom." in folder for folder in readers)
    assert plan_of({**base, "base/target/labels": "class"}).jobs.keys() == plain.jobs.keys()


def test_columns_of_a_table_may_be_columns_of_labels(plan_of: PlanOf) -> None:
    plan = plan_of({"base/target/protocol": "knn", "base/transfer": None, "also": [],
                    "grid/columns": {"target.labels": ["zoom", "photograph"]}})  # fmt: skip
    assert plan.studies["small"].columns == ("zoom", "photograph")
    assert labels_of(plan)["evaluate_target"] == {"zoom", "photograph"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base/target/labels": "zom"}, "labels: dataset `digits_m` has no label column `zom`. Did you mean 'zoom'?"),
        ({"base/target/labels": "zoom", "base/target/dataset": "cifar10"},
         "labels: dataset `cifar10` has no label column `zoom`. Known: class."),
        ({"base/target/labels": "digit", "base/target/dataset": SCENES, "base/target/protocol": "detection",
          "base/target/network": "ssd300"}, "has no label column `digit`. Known: objects."),
        ({"base/target/labels": "objects", "base/target/dataset": SCENES},
         "dataset `digits_scenes` has boxes, which protocol `classification` cannot score"),
        ({"base/target/labels": "digit", "base/target/protocol": "tasks", "base/transfer": None,
          "base/source/tasks": ["classification"], "base/source/method": None},
         "labels: protocol `tasks` scores the columns that the source's tasks learned, and no other: leave out `dig"),
        ({"base/target/labels": "digit", "base/transfer": {"method": "source_only"}, "base/source/method": "supervised",
          "base/source/tasks": None},
         "transfer `source_only` reads the source's own classifier of `class`, but target.labels is `digit`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(plan_of: PlanOf, changes: dict[str, Any], words: str) -> None:
    alone = {"grid/rows": {"source.batch_size": [8, 16]}, "grid/columns": None, "also": []}
    with pytest.raises(StudyError) as caught:
        plan_of({**alone, **changes})
    assert words in str(caught.value)


def test_a_dataset_of_an_older_version_is_told(plan_of: PlanOf, project: Path) -> None:
    study = {"base/target/protocol": "knn", "base/transfer": None, "grid/columns": None, "also": [],
             "base/target/labels": "zoom"}  # fmt: skip
    plan = plan_of(study)
    folder = next(job.folder for job in plan.jobs.values() if job.stage == "prepare_dataset")
    (project / folder).mkdir(parents=True)
    (project / folder / "dataset.json").write_text('{"classes": ["0"]}')
    with pytest.raises(StudyError, match="has no label columns beside the class"):
        plan_of(study)
    (project / folder / "dataset.json").write_text('{"classes": ["0"], "columns": {"zoom": {}}}')
    plan_of(study)


class Mixed(DatasetOptions):
    """Labels of several kinds, and no `class`."""

    def label_columns(self) -> dict[str, Kind]:
        return {"things": "boxes", "age": "class", "gender": "class"}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("age", None),
        (None, "dataset `mixed` has no label column `class`: set target.labels to age or gender"),
        ("things", "labels: protocol `knn` scores classes, but column `things` of dataset `mixed` has boxes. Columns "
                   "that fit: age, gender"),
        ("agee", "labels: dataset `mixed` has no label column `agee`. Did you mean 'age'?"),
    ],
)  # fmt: skip
def test_the_column_is_of_the_kind_that_the_protocol_scores(labels: str | None, words: str | None) -> None:
    target = Target.model_construct(dataset=Mixed(name="mixed"), protocol=KnnOptions(), labels=labels)
    source = SimpleNamespace(epochs=0, encoder=SimpleNamespace(layers=()))
    lines = list(target.clashes(SimpleNamespace(source=source, stage_epochs=())))
    assert [words in line for line in lines if words] == ([True] if words else []), lines
    assert bool(lines) == bool(words)
