# ruff: noqa: E501 - a case a line
"""What bad input gets: a line that names file and key, says what was found and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.study.plan import Plan, make_plan

PlanOf = Callable[..., Plan]
FILE = r"config/studies/small\.yaml"

CASES: list[tuple[dict[str, Any], str]] = [
    ({"titel": "x", "title": None}, FILE + r": `titel`: unknown key. Did you mean 'title'\?"),
    ({"title": None}, FILE + ": `title`: is needed, but missing"),
    ({"trials": 0}, FILE + ": `trials`: should be greater than or equal to 1, but is 0"),
    ({"trials": "many"}, FILE + ": `trials`: should be a valid integer.*'many'"),
    ({"base/sorce": {}}, FILE + r": `sorce`: unknown key. Did you mean 'source'\?"),
    ({"base/source/encoder": "resnet62"}, FILE + r": `source.encoder`: Unknown encoder 'resnet62'. Did you mean 'resnet26'\?"),
    ({"base/source/batch_size": "64 images"}, FILE + ": `source.batch_size`: .*'64 images'"),
    ({"base/source/tasks": ["jigsw"]}, FILE + r": `source.tasks\[0\]`: Unknown task 'jigsw'. Did you mean 'jigsaw'\?"),
    ({"base/source/tasks": [{"name": "jigsaw", "permutation": 5}]}, r"`source.tasks\[0\].permutation`: unknown key. Did you mean 'permutations'"),
    ({"base/source/tasks": ["jigsaw", "jigsaw"]}, "tasks names a task twice"),
    ({"base/source/fusion": {"windw": 2}}, FILE + ": `source.fusion.windw`: unknown key. Did you mean 'window'"),
    ({"base/source/fusion": {"name": "tte", "alpha": "fixed"}}, "alpha: fixed and alpha_values go together"),
    ({"base/source/optimizer": {"learning_rate": -1}}, "`source.optimizer.learning_rate`: should be greater than 0, but is -1"),
    ({"base/source/optimizer": {"learning_rate": float("nan")}}, "`source.optimizer.learning_rate`: .*nan"),
    # Of a choice of types (a number, a file, or names) the one that came furthest, by the study's own keys.
    ({"base/source/dataset": {"name": "dense_folder", "path": "streets.tar", "image_size": 32, "maps": {"segmentation": {"kind": "class_map", "classes": ["sky", []]}}}}, r": `source\.dataset\.maps\.segmentation\.classes\[1\]`: should be a valid string$"),
    ({"base/source/method": "tt"}, FILE + r".*`source.method`: Unknown method 'tt'. Did you mean 'tte'"),
    ({"grid/rows": {"source.methd": ["tte"]}}, FILE + r" \(row 'tte'.*`source.methd`: unknown key. Did you mean 'method'"),
    ({"grid/rows": {"source.method": "tte"}}, FILE + r": `grid.rows`: `source.method` should list its values, as in `source.method: \[a, b\]`"),
    ({"grid/rows": {"source.method": []}}, FILE + ": `grid.rows`: `source.method` should list its values"),
    ({"grid/rows": [{"label": None, "source.method": "tte"}]}, "`label` should be a name, but is None"),
    ({"grid/rows": [{"label": "a", "column": "b", "source.method": "tte"}]}, "`column` names the column of a row under `also` only"),
    ({"base/source": 3}, FILE + ": base: `source`: should hold settings, but is 3"),
    ({"base/source/tasks": "jigsaw"}, "`source.tasks`: should be a list of tasks"),
    ({"grid/rows": {"target.label_fraction": [0.1]}}, "both rows and columns set `target.label_fraction`"),
    ({"grid/columns": {"target.label_fraction": [0.0, 2]}}, "label_fraction.*should be less than or equal to 1, but is 2"),
    ({"also": [{"label": "tte"}]}, "two rows are named 'tte'"),
    ({"also": [{"transfer.method": "none"}]}, r"`also\[0\].label`: is needed, but missing"),
    ({"compare": [{"row": "ttee", "against": "equal"}]}, r"`compare`: no row is named 'ttee'. Did you mean 'tte'"),
    ({"base/source/dataset": {"name": ["digits_m"]}}, r"`source\.dataset`: Unknown dataset"),
    ({"published": "nowhere.csv"}, r"`published`: no file config/studies/nowhere.csv"),
    ({"base/target/metric": "mAP"}, "protocol `classification` has no metric `mAP`. Known: accuracy"),
    ({"scale": "tiny"}, r"config/config.yaml \(or --config\): `scale`: Unknown scale 'tiny'"),
    ({"base/source/dataset": {"name": "image_folder", "path": "x.tar", "image_size": 50}}, r"tasks\[0\]: jigsaw has presets for images of 32, 64, 96, 224, 256 px, but these have 50 px"),
    ({"base/source/dataset": {"name": "image_folder", "path": "x.tar", "image_size": 32}}, r"dataset `image_folder`: no .*`x.tar`.*TESSERA_DATA"),
    ({"base/source/tasks": [{"name": "jigsaw", "cell_px": 20}]}, "three cells of 20 px do not fit images of 32 px"),
    ({"base/source/encoder": "alexnet", "base/source/tasks": ["jigsaw", {"name": "rwc", "crop_px": 6, "aperture_px": 4}]}, r"tasks\[1\]: rwc shows encoder `alexnet` 6 px, but it needs 7 px or more: raise"),
    ({"base/source/encoder": "alexnet", "base/source/tasks": [{"name": "jigsaw", "input_px": 5}]}, r"tasks\[0\]: jigsaw shows encoder `alexnet` 5 px"),
    ({"base/source/dataset": "my_package.data:Mine"}, "Cannot import `my_package.data:Mine`"),
    ({"base/source/schedule": "branches", "base/source/fusion": "none"}, "throws all but one branch away without a fusion"),
    ({"base/source/schedule": "joint"}, "fusion `tte` needs weights of each task's own turn, which schedule `joint` has not"),
    ({"base/source/fusion": {"name": "tte", "rest": "last"}}, "fusion.rest `last` throws all but one branch away"),
    ({"base/source/fusion": {"name": "tte", "alpha": "fixed", "alpha_values": [1.0]}}, "has 1 values for 2 tasks"),
    ({"base/transfer": {"method": "combination", "of": {"0": "fsp"}}}, FILE + ".*: `transfer.of`: should be a list$"),
    ({"base/transfer": "source_only"}, "transfer `source_only` reads the source's own classifier, but no task of the source learns class labels"),
    ({"base/transfer": "source_only", "base/source/sharing": "lasso", "base/source/schedule": "round_robin", "base/source/fusion": "none", "base/source/tasks": ["classification"], "grid/rows": {"source.epochs": [1]}, "base/source/method": None, "also": None}, "which it does not under sharing `lasso`: use `hard`"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), CASES, ids=[message[-40:] for _, message in CASES])
def test_bad_studies(plan_of: PlanOf, changes: dict[str, Any], message: str) -> None:
    config = {"scale": changes["scale"]} if "scale" in changes else {}
    with pytest.raises(StudyError, match=message) as caught:
        plan_of(changes, **config)
    assert len(str(caught.value).splitlines()) <= 4, "one line for each thing that is wrong"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"studies": ["smal"]}, r"config/config.yaml: `studies`: no study 'smal' .*Did you mean 'small'\?"),
        ({"studies": []}, "`studies`"),
        ({"studies": ["small", "small"]}, "the name 'small' is taken"),
        ({"studies": ["small", "elsewhere/small.yaml"]}, "the name 'small' is taken by config/studies/small.yaml"),
        ({"studes": ["small"]}, r"`studes`: unknown key. Did you mean 'studies'\?"),
        ({"device": "tpu"}, "`device`: should be 'auto', 'cpu' or 'cuda', but is 'tpu'"),
        ({"tracking": {"mlflow": {"url": "x"}}}, r"`tracking.mlflow.url`: unknown key. Did you mean 'uri'"),
        ({"tracking": {"mlflw": {}}}, r"`tracking.mlflw`: unknown key. Did you mean 'mlflow'"),
    ],
)
def test_bad_configurations(plan_of: PlanOf, project: Path, config: dict[str, Any], message: str) -> None:
    plan_of()
    (project / "elsewhere").mkdir()
    (project / "elsewhere/small.yaml").write_text((project / "config/studies/small.yaml").read_text())
    with pytest.raises(StudyError, match=message):
        make_plan({"studies": ["small"], **config}, project)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "line 1, column 9: not valid YAML"),
        ("title: a\ntitle: b", "line 2, column 1: not valid YAML: the key `title` stands twice"),
        ("- a\n- b", "should hold `key: value` lines, but holds list"),
        ("", "should hold `key: value` lines"),
        ("title: !!python/object/apply:os.system [ls]", "not valid YAML"),
    ],
)
def test_files_that_are_no_study(project: Path, text: str, message: str) -> None:
    (project / "config/studies/odd.yaml").write_text(text)
    with pytest.raises(StudyError, match=r"config/studies/odd\.yaml.*" + message):
        make_plan({"studies": ["odd"]}, project)


@pytest.mark.parametrize("name", ["all", "plots", "pretrain_source", "2nd", "with space"])
def test_names_that_no_study_can_have(project: Path, name: str) -> None:
    (project / f"config/studies/{name}.yaml").write_text("title: x")
    with pytest.raises(StudyError, match="rename the file"):
        make_plan({"studies": [name]}, project)


def test_every_wrong_cell_is_told_at_once(plan_of: PlanOf) -> None:
    with pytest.raises(StudyError) as caught:
        plan_of({"base/source/epochs": -1, "base/target/iterations": 0})
    assert "source.epochs" in str(caught.value)
    assert "target.iterations" in str(caught.value)
