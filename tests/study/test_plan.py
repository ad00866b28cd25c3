"""The plan: which jobs a study needs, what an edit changes, and what it shares."""

import tarfile
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from faces import write_faces
from tessera.data.datasets.options.dense import DenseOptions
from tessera.errors import StudyError
from tessera.jobs import Job
from tessera.study import resolve
from tessera.study.plan import Plan, make_plan

PlanOf = Callable[..., Plan]


def stages(folders: set[str] | list[str] | dict[str, Job]) -> Counter[str]:
    return Counter(folder.split("/")[1] for folder in folders)


def new(before: Plan, after: Plan) -> Counter[str]:
    """How many jobs of each kind the second plan has that the first has not."""
    return stages(set(after.jobs) - set(before.jobs))


def test_counts_every_job_once(plan_of: PlanOf) -> None:
    plan = plan_of()
    # 2 methods x 2 trials; (2 methods x fsp + target only) x 2 label fractions x 2 trials
    assert stages(plan.jobs) == {"datasets": 1, "pretext": 2, "source": 4, "transfer": 12, "target": 12}
    summary = plan.studies["small"]
    assert summary.rows == ("equal", "tte", "target only")
    assert summary.columns == ("label_fraction 0.1", "label_fraction 1.0")
    assert all(len(cell.artifacts) == 2 for cell in summary.cells)


def test_a_job_stands_after_its_inputs(plan_of: PlanOf) -> None:
    seen: set[str] = set()
    for folder, job in plan_of().jobs.items():
        assert set(job.inputs.values()) <= seen
        seen.add(folder)


def test_a_plan_reads_each_scale_and_method_once_and_the_next_reads_them_anew(
    plan_of: PlanOf, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of(name="another")
    read: list[str] = []
    whole = resolve.read_yaml
    monkeypatch.setattr(resolve, "read_yaml", lambda path, shown: (read.append(shown), whole(path, shown))[1])
    before = plan_of()
    assert sorted(read) == ["config/methods/equal.yaml", "config/methods/tte.yaml", "config/scales/smoke.yaml"]
    method = project / "config/methods/equal.yaml"
    method.write_text(method.read_text().replace("balancing: equal", "balancing: dwa"))
    assert new(before, plan_of()) == {"source": 2, "transfer": 4, "target": 4}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"title": "Another title"}, {}),
        ({"base/transfer": {"method": "fsp", "weight": 2.0}}, {"transfer": 8, "target": 8}),
        ({"base/transfer": {"method": "soft_targets"}}, {"transfer": 8, "target": 8}),
        ({"base/target/network": {"name": "reduced_alexnet", "hidden": 32}}, {"transfer": 12, "target": 12}),
        ({"base/source/tasks": ["colorization", "jigsaw"]}, {"source": 4, "transfer": 8, "target": 8}),
        ({"base/source/fusion": {"window": 2}}, {"source": 2, "transfer": 4, "target": 4}),
        ({"base/source/fusion": {"name": "tte", "beta0": 0.2}}, {"source": 2, "transfer": 4, "target": 4}),
        (
            {"base/source/tasks": [{"name": "jigsaw", "permutations": 20}, "colorization"]},
            {"pretext": 1, "source": 4, "transfer": 8, "target": 8},
        ),
        (
            {"base/source/tasks": [{"name": "jigsaw", "gray": 1.0}, "colorization"]},
            {"source": 4, "transfer": 8, "target": 8},
        ),
        ({"trials": 3}, {"source": 2, "transfer": 6, "target": 6}),
        ({"also": [{"label": "baseline", "transfer.method": "none"}]}, {}),
        ({"grid/columns": {"target.label_fraction": [0.1, 0.5, 1.0]}}, {"transfer": 6, "target": 6}),
        ({"base/target/protocol": "linear_probe"}, {"target": 8}),
    ],
)
def test_an_edit_plans_what_depends_on_it_and_nothing_else(
    plan_of: PlanOf, edit: dict[str, Any], expected: dict[str, int]
) -> None:
    before = plan_of()
    assert new(before, plan_of(edit)) == expected
    assert new(before, plan_of()) == {}  # and back: everything is there already


def test_an_untrained_encoder_does_not_depend_on_the_training_budget(plan_of: PlanOf) -> None:
    edit = {"grid/rows": {"source.method": ["random"]}, "also": []}
    before = plan_of(edit)
    after = plan_of({**edit, "base/source/epochs": 9, "base/source/optimizer": {"learning_rate": 0.3}})
    assert new(before, after) == {}
    assert not any(folder.startswith("artifacts/pretext") for folder in before.jobs)


def test_single_stage_methods_get_the_budget_of_both_stages_unless_told(plan_of: PlanOf) -> None:
    target = {"base/target/epochs": 7, "base/target/first_stage_epochs": 3}
    epochs = {
        (job.settings["transfer"]["name"], job.settings["epochs"], job.settings["first_stage_epochs"])
        for job in plan_of(target).jobs.values()
        if job.stage == "transfer_knowledge"
    }
    assert epochs == {("fsp", 7, 3), ("none", 10, 0)}
    short = plan_of({**target, "base/target/budget": "second_stage"})
    assert {
        job.settings["epochs"] for job in short.jobs.values() if job.settings.get("transfer", {}).get("name") == "none"
    } == {7}


def test_two_studies_share_jobs_and_each_knows_its_own(plan_of: PlanOf) -> None:
    plan_of(name="one")
    both = plan_of({"title": "Same, otherwise named"}, name="two", studies=["one", "two"])
    assert both.studies["one"].artifacts == both.studies["two"].artifacts
    assert all(job.run.studies == ("one", "two") for job in both.jobs.values())
    assert both.jobs_of(["one"]).keys() == both.jobs.keys()


def test_a_key_depends_on_settings_inputs_trial_and_version_only() -> None:
    job = Job(
        stage="pretrain_source",
        words="w",
        version=1,
        trial=0,
        settings={"a": 1},
        inputs={"d": "artifacts/x/y-01234567"},
    )
    changed = [{"version": 2}, {"trial": 1}, {"settings": {"a": 2}}, {"inputs": {"d": "artifacts/x/y-01234568"}}]
    keys = [job.model_copy(update=change).key for change in changed]
    assert len({job.key, *keys}) == 5
    unchanged = [{"words": "other"}, {"run": job.run.model_copy(update={"device": "cpu"})}]
    assert {job.model_copy(update=change).key for change in unchanged} == {job.key}


def test_keys_are_pinned() -> None:
    """If this fails, every cached artifact of every user is made again: is that meant?"""
    job = Job(stage="pretrain_source", words="w", version=1, trial=0, settings={"a": [1, 2.5, None]}, inputs={})
    assert job.key == "5461dd10"


def test_a_study_that_is_not_chosen_never_stands_in_the_way(plan_of: PlanOf, project: Path) -> None:
    plan_of(name="good")
    (project / "config/studies/broken.yaml").write_text("title: [")
    plan = plan_of(name="chosen")
    assert plan.others.keys() == {"good"}
    assert "broken.yaml, line 1" in plan.failed["broken"]


def test_an_extra_row_that_sets_a_columns_key_stands_in_that_column_alone(plan_of: PlanOf) -> None:
    plan = plan_of(
        {
            "grid/columns": [
                {"label": "probe", "target.protocol": "linear_probe"},
                {"label": "knn", "target.protocol": "knn"},
            ],
            "also": [
                {"label": "a", "target.protocol": "classification", "column": "student"},
                {"label": "b", "target.protocol": "knn"},
                {"label": "c", "source.method": "random"},
            ],
        }
    )
    cells = [(cell.row, cell.column) for cell in plan.studies["small"].cells]
    assert [cell for cell in cells if cell[0] in "abc"] == [
        ("a", "student"),
        ("b", "knn"),
        ("c", "probe"),
        ("c", "knn"),
    ]


def test_an_extra_row_that_names_a_column_stands_in_it_alone(plan_of: PlanOf) -> None:
    """Be the column the grid's or a new one, and whichever of its keys the row sets."""
    columns = [
        {"label": "probe", "target.protocol": "linear_probe"},
        {"label": "student", "target.protocol": "classification", "transfer": "soft_targets"},
    ]
    also = [
        {"label": "a", "column": "student", "transfer": "none"},
        {"label": "b", "column": "student", "source.method": "random"},
        {"label": "c", "column": "copy", "target.protocol": "classification", "transfer": "fine_tune"},
    ]
    study = plan_of({"grid/columns": columns, "also": also}).studies["small"]
    assert study.columns == ("probe", "student", "copy")
    cells = {(cell.row, cell.column) for cell in study.cells if cell.row in "abc"}
    assert cells == {("a", "student"), ("b", "student"), ("c", "copy")}
    also[0] = {"label": "a", "column": "student", "target.protocol": "linear_probe", "transfer": "soft_targets"}
    columns[0]["transfer"] = "soft_targets"
    with pytest.raises(StudyError, match="names `column: student`, but its settings put it into 'probe'"):
        plan_of({"grid/columns": columns, "also": also})


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_no_new_column_stands_beside_one_of_the_grid_that_is_the_same_for_the_row(
    order: tuple[int, ...], plan_of: PlanOf
) -> None:
    columns = [
        {"label": "probe", "target.protocol": "linear_probe"},
        {"label": "soft", "target.protocol": "classification", "transfer": "soft_targets"},
        {"label": "alone", "target.protocol": "classification", "transfer": "none"},
    ]
    own = {"target.protocol": "classification", "transfer": "none"}
    edit = {"grid/columns": [columns[place] for place in order], "also": [{"label": "x", **own}]}
    study = plan_of(edit).studies["small"]
    assert [cell.column for cell in study.cells if cell.row == "x"] == ["alone"]
    with pytest.raises(StudyError, match="names `column: new`, but its settings put it into 'alone'"):
        plan_of({**edit, "also": [{"label": "x", "column": "new", **own}]})


def test_published_values_stand_in_their_cells(plan_of: PlanOf, project: Path) -> None:
    (project / "config/studies/p.csv").write_text("\ufeffrow,column,value\ntte,label_fraction 0.1,71.38\n")
    cells = plan_of({"published": "p.csv"}).studies["small"].cells
    assert {(cell.row, cell.column, cell.published) for cell in cells if cell.published} == {
        ("tte", "label_fraction 0.1", 71.38)
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tte\n", "line 2: no column ''"),
        ("tte,label_fraction 0.1\n", "line 2: `value` should be a number, but is None"),
        ("tte,label_fraction 0.1,nan\n", "line 2: `value` should be a number, but is 'nan'"),
        ("\ntte,label_fraction 0.1,1\n" * 2, "line 5: row 'tte', column 'label_fraction 0.1' has a value already"),
        ("t\udcfcte,label_fraction 0.1,1\n", "cannot be read: not UTF-8 text"),
    ],
)
def test_bad_published_values(plan_of: PlanOf, project: Path, text: str, message: str) -> None:
    (project / "config/studies/p.csv").write_bytes(("row,column,value\n" + text).encode("utf-8", "surrogateescape"))
    with pytest.raises(StudyError, match=r"^config/studies/p\.csv.*" + message):
        plan_of({"published": "p.csv"})


def test_shipped_studies_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("bccd.tar.xz", "cifar10.tar.xz", "imagenet", "places365", "tinyimagenet.tar.xz"):
        if name.endswith(".tar.xz"):
            tarfile.open(tmp_path / name, "w:xz").close()
        else:
            (tmp_path / name).mkdir()
    write_faces(tmp_path / "UTKFace", [(26, 0, 1)])
    monkeypatch.setattr(DenseOptions, "missing", lambda self, data_root: None)  # their trees are looked into
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    root = Path(__file__).parents[2]
    plan = make_plan({"studies": [item.stem for item in (root / "config/studies").glob("*.yaml")]}, root)
    assert not plan.failed
    assert stages(list(plan.jobs_of(["quickstart"]))) == {
        "datasets": 1, "pretext": 1, "source": 12, "transfer": 6, "target": 30, "clusters": 3,
    }  # fmt: skip
    named = set(chain.from_iterable(summary.artifacts for summary in plan.studies.values()))
    assert named == set(plan.jobs)


def test_a_scale_lets_one_dataset_stand_in_for_another_and_says_so(plan_of: PlanOf, project: Path) -> None:
    scale = project / "config/scales/smoke.yaml"
    scale.write_text(scale.read_text() + "stand_ins: {dataset: {stl10: digits_m, cifar10: digits_m}}\n")
    plan = plan_of({"base/target/dataset": "stl10"})
    assert stages(plan.jobs)["datasets"] == 1
    assert plan.studies["small"].stand_ins == {"stl10": "digits_m"}


def test_a_scale_that_sets_an_unknown_option_is_refused(plan_of: PlanOf, project: Path) -> None:
    scale = project / "config/scales/smoke.yaml"
    scale.write_text(scale.read_text().replace("permutations: 10", "permutation: 10"))
    with pytest.raises(StudyError, match=r"parts.task.jigsaw.permutation`: unknown key. Did you mean 'permutations'"):
        plan_of()


@pytest.mark.parametrize(
    ("stand_in", "message"),
    [
        (
            "{name: image_folder, pth: x, image_size: 32}",
            r"`stand_ins\.dataset\.stl10\.pth`: unknown key\. Did you mean 'path'\?",
        ),
        ("{name: image_folder, path: x}", r"`stand_ins\.dataset\.stl10\.image_size`: is needed, but missing"),
        (
            "{name: image_folder, path: x, image_size: big}",
            r"`stand_ins\.dataset\.stl10\.image_size`: should be a valid integer",
        ),
        ("digits", r"`stand_ins\.dataset\.stl10`: Unknown dataset 'digits'\. Did you mean 'digits_m'\?"),
        ("{path: x}", r"`stand_ins\.dataset\.stl10`: should name one dataset of: "),
        ("[digits_m]", r"`stand_ins\.dataset\.stl10`: should name one dataset of: "),
        ("7", r"`stand_ins\.dataset\.stl10`: should name one dataset of: "),
    ],
)
def test_a_stand_in_is_checked_where_it_is_written(plan_of: PlanOf, project: Path, stand_in: str, message: str) -> None:
    scale = project / "config/scales/smoke.yaml"
    scale.write_text(scale.read_text() + f"stand_ins: {{dataset: {{stl10: {stand_in}}}}}\n")
    with pytest.raises(StudyError, match=r"^config/scales/smoke\.yaml: " + message):
        plan_of()


def test_a_stand_in_may_lack_what_the_scale_says_of_it_elsewhere(plan_of: PlanOf, project: Path) -> None:
    (project / "data").mkdir()
    tarfile.open(project / "data/faces.tar", "w").close()
    scale = project / "config/scales/smoke.yaml"
    text = scale.read_text().replace("  dataset:\n", "  dataset:\n    image_folder: {image_size: 32}\n")
    scale.write_text(text + "stand_ins: {dataset: {stl10: {name: image_folder, path: faces.tar}}}\n")
    plan = plan_of({"base/target/dataset": "stl10"})
    datasets = [job.settings["dataset"] for job in plan.jobs.values() if job.stage == "prepare_dataset"]
    assert ("faces.tar", 32) in [(dataset.get("path"), dataset["image_size"]) for dataset in datasets]


def test_a_part_that_nobody_named_has_its_stand_in_too(plan_of: PlanOf, project: Path) -> None:
    scale = project / "config/scales/smoke.yaml"
    scale.write_text(scale.read_text() + "stand_ins: {encoder: {resnet26: resnet8}}\n")
    plan = plan_of({"base/source/encoder": None})
    encoders = {
        job.settings["source"]["encoder"]["name"] for job in plan.jobs.values() if job.stage == "pretrain_source"
    }
    assert encoders == {"resnet8"}


def test_a_scale_sets_options_of_parts_that_nobody_named(plan_of: PlanOf) -> None:
    jobs = plan_of().jobs.values()
    networks = [job.settings["network"] for job in jobs if job.stage == "transfer_knowledge"]
    assert {(network["width"], network["hidden"]) for network in networks} == {("quarter", 64)}


@pytest.mark.parametrize("scale", [path.stem for path in (Path(__file__).parents[2] / "config/scales").glob("*.yaml")])
@pytest.mark.parametrize("method", ["tte", "equal", "random", "supervised"])
def test_what_a_scale_says_of_a_part_holds_under_every_method(
    plan_of: PlanOf, project: Path, scale: str, method: str
) -> None:
    said = yaml.safe_load((project / f"config/scales/{scale}.yaml").read_text()).get("parts", {})
    plan = plan_of({"grid/rows": {"source.method": [method]}, "base/source/method": None}, scale=scale)

    def parts_of(settings: Any) -> list[dict[str, Any]]:
        inner = settings.values() if isinstance(settings, dict) else settings if isinstance(settings, list) else []
        found = [part for item in inner for part in parts_of(item)]
        return [settings, *found] if isinstance(settings, dict) and "name" in settings else found

    options = {
        (name, key): value for table in said.values() for name, part in table.items() for key, value in part.items()
    }
    for job in plan.jobs.values():
        for part in parts_of(job.settings):
            for key in part.keys() & {key for name, key in options if name == part["name"]}:
                assert part[key] == options[part["name"], key], (job.name, part["name"], key)
