"""Tasks that learn named columns of the labels, and protocol `tasks`, in a plan."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tessera.data.datasets.options.digits import DigitsMOptions
from tessera.data.datasets.options.torchvision import Cifar10Options
from tessera.errors import StudyError
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]
DIGIT, ZOOM = ({"name": "classification", "labels": name} for name in ("digit", "zoom"))
STUDY: dict[str, Any] = {
    "base/source/tasks": [DIGIT, "classification", ZOOM],
    "base/source/method": None,
    "base/source/schedule": "round_robin",
    "base/transfer": None,
    "base/target": {"dataset": "digits_m", "protocol": "tasks"},
    "grid/rows": {"source.batch_size": [8, 16]},
    "grid/columns": [
        {"label": "a digit", "target.metric": "classification.digit.accuracy"},
        {"label": "zoom", "target.metric": "classification.zoom.cross_entropy"},
    ],
    "also": [],
}


def told(plan_of: PlanOf, **changes: Any) -> list[str]:
    with pytest.raises(StudyError) as caught:
        plan_of(deepcopy(STUDY) | {key.replace("__", "/"): value for key, value in changes.items()})
    return str(caught.value).splitlines()


def test_one_job_fills_the_columns_of_all_tasks(plan_of: PlanOf) -> None:
    plan = plan_of(deepcopy(STUDY))
    jobs = [job for job in plan.jobs.values() if job.stage == "evaluate_target"]
    assert len(jobs) == 4  # two rows, two trials
    assert all([*job.inputs] == ["dataset", "source"] for job in jobs)
    assert all(".cls_digit-cls-cls_zoom." in job.words for job in jobs)
    cells = plan.studies["small"].cells
    assert {cell.metric for cell in cells} == {"classification.digit.accuracy", "classification.zoom.cross_entropy"}
    assert cells[0].artifacts == cells[1].artifacts
    tasks = next(job.settings["source"]["tasks"] for job in plan.jobs.values() if job.stage == "pretrain_source")
    assert [task.get("labels") for task in tasks] == ["digit", None, "zoom"]  # what was there before keeps its key
    assert plan_of(deepcopy(STUDY) | {"base/target/label_fraction": 0.5}).jobs.keys() == plan.jobs.keys()


def test_the_first_figure_of_the_first_task_fills_a_cell(plan_of: PlanOf) -> None:
    plan = plan_of(deepcopy(STUDY) | {"grid/columns": {"target.dataset": ["digits_m"]}})
    assert {cell.metric for cell in plan.studies["small"].cells} == {"classification.digit.accuracy"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"base__source__tasks": [DIGIT, {"name": "classification", "labels": "zom"}]},
            "tasks[1]: classification.labels: dataset `digits_m` has no label column `zom`. Did you mean 'zoom'?",
        ),
        (
            {"base__source__tasks": [DIGIT, ZOOM, DIGIT]},
            "`source`: tasks names a task twice: classification.digit, classification.zoom, classification.digit",
        ),
        (
            {"base__source__tasks": ["jigsaw"], "grid__columns": {"target.dataset": ["digits_m"]}},
            "measures tasks that learn labels, but the source has no task that learns labels: give source.tasks "
            "`classification`, `depth`, ",
        ),
        (
            {"base__source__epochs": 0, "grid__columns": {"target.dataset": ["digits_m"]}},
            "`tasks` measures tasks that learn labels, but the source is untrained (`source.epochs` is 0)",
        ),
        (
            {"base__transfer": "fine_tune"},
            "protocol `tasks` measures what the source's tasks have learned, but transfer `fine_tune` is for a",
        ),
        (
            {"base__target__dataset": "cifar10"},
            "`target`: a task of the source learns label column `digit`, which target.dataset `cifar10` does not have. "
            "Known: class.",
        ),
        (
            {"grid__columns": {"target.metric": ["classification.digit.acuracy"]}},
            "protocol `tasks` has no metric `classification.digit.acuracy`. Known: classification.digit.accuracy,",
        ),
        (
            {"grid__columns": {"target.label_fraction": [0.1, 1.0]}},
            "protocol `tasks` reads no labels",
        ),
        (
            {"grid__columns": {"target.epochs": [1, 2]}},
            "protocol `tasks` measures the source itself, and trains no target network",
        ),
    ],
)
def test_what_does_not_fit_is_told_before_any_job(plan_of: PlanOf, changes: dict[str, Any], words: str) -> None:
    lines = told(plan_of, **changes)
    assert any(words in line and line.startswith("config/studies/small.yaml") for line in lines), lines


def test_a_dataset_of_boxes_is_refused_in_one_line_a_task(plan_of: PlanOf) -> None:
    lines = told(plan_of, base__source__dataset="digits_scenes", base__source__tasks=[DIGIT])
    found = [line for line in lines if "learns the class of each image, but dataset `digits_scenes` has boxes" in line]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            {"name": "reconstruction", "noise": 0.1},
            "tasks[1]: reconstruction.noise (0.1) is added to inputs",
        ),
        (
            {"name": "segmentation", "alternate": True},
            "tasks[1]: segmentation.alternate draws a loss for each",
        ),
        ("jigsaw", "schedule.inputs is `shared`, but task `jigsaw` makes inputs of its own"),
        ("simclr", "schedule.inputs is `shared`, but task `simclr` makes inputs of its own"),
    ],
)
def test_what_a_task_does_to_its_own_input_cannot_be_shared(plan_of: PlanOf, task: Any, words: str) -> None:
    shared = {"name": "joint", "inputs": "shared"}
    lines = told(plan_of, base__source__schedule=shared, base__source__tasks=[DIGIT, task, ZOOM])
    assert all(words in line for line in lines)


@pytest.mark.parametrize("task", ["reconstruction", "segmentation"])
def test_tasks_that_look_at_the_image_itself_share_it(plan_of: PlanOf, task: str) -> None:
    shared = {"name": "joint", "inputs": "shared"}
    assert plan_of(deepcopy(STUDY) | {"base/source/schedule": shared, "base/source/tasks": [DIGIT, task, ZOOM]}).jobs


MAPS: dict[str, Any] = {"segmentation": "class_map", "depth": "depth_map", "relief": "depth_map"}


def dense(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, **options}


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([dense("depth", labels="segmentation")], "depth learns maps of depth, but column `segmentation` of dataset"),
        (
            [dense("depth", labels="depht")],
            "depth.labels: dataset `digits_m` has no label column `depht`. Did you mean",
        ),
        ([dense("normals")], "normals learns the normal of each pixel, but dataset `digits_m` has "),
        ([dense("depth", crop=[16, 40])], "depth.crop: a window of 16 x 40 px does not fit images of 32 x 32 px"),
        ([dense("depth", scales=[0.5])], "should be greater than or equal to 1, but is 0.5"),
        (
            [dense("depth", scales=[1, 1.5]), dense("semantic_segmentation")],
            "task `semantic_segmentation` asks for other views of the images than `depth`: give both the same flip,",
        ),
        ([dense("depth"), dense("depth")], "tasks names a task twice: depth, depth"),
    ],
)
def test_what_does_not_fit_of_maps_is_told(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, tasks: list[Any], words: str
) -> None:
    monkeypatch.setattr(DigitsMOptions, "label_columns", lambda self: MAPS)
    shared = {"name": "joint", "inputs": "shared"}
    lines = told(plan_of, base__source__tasks=tasks, base__source__schedule=shared, grid__columns={})
    assert any(words in line for line in lines), lines


MAPS_ALONE = {"segmentation": "class_map", "depth": "depth_map"}


@pytest.mark.parametrize("protocol", ["classification", "linear_probe", "knn", "few_shot", "clustering", "tsne"])
def test_what_reads_classes_is_refused_in_one_line_where_there_are_maps_alone(
    plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(DigitsMOptions, "label_columns", lambda self: MAPS_ALONE)
    tasks = {"base__source__tasks": ["jigsaw"], "grid__columns": {"target.dataset": ["digits_m"]}}
    lines = told(plan_of, base__target__protocol=protocol, **tasks)
    (line,) = [line for line in lines if "cannot score" in line]
    assert line.endswith(
        f"dataset `digits_m` has maps of classes and maps of depth, which protocol `{protocol}` cannot score: set "
        "target.protocol to `tasks`, or choose another target.dataset"
    )
    assert len(lines) <= 2  # with a head line, where several cells have the same


def test_a_transfer_to_images_with_maps_alone_is_refused(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DigitsMOptions, "label_columns", lambda self: MAPS_ALONE)
    changes = {"base/source/tasks": ["jigsaw"], "base/transfer": {"method": "fine_tune"}, "grid/columns": {}}
    with pytest.raises(
        StudyError, match=r"which protocol `classification` cannot score: set target.protocol to `tasks`"
    ):
        plan_of(deepcopy(STUDY) | changes | {"base/target": {"dataset": "digits_m", "network": "classifier"}})
    with pytest.raises(
        StudyError, match="protocol `tasks` measures what the source's tasks have learned, but transfer"
    ):
        plan_of(deepcopy(STUDY) | changes | {"base/source/tasks": [dense("depth")]})


def test_a_target_whose_column_is_of_another_kind_is_refused(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DigitsMOptions, "label_columns", lambda self: MAPS_ALONE)
    monkeypatch.setattr(Cifar10Options, "label_columns", lambda self: {"depth": "disparity_map"}, raising=False)
    lines = told(
        plan_of, base__source__tasks=[dense("depth")], base__source__dataset="digits_m", grid__columns={},
        base__target={"dataset": "cifar10", "protocol": "tasks"},
    )  # fmt: skip
    assert any("learns maps of depth, but label column `depth` of target.dataset `cifar10` has maps of disp" in line
               for line in lines), lines  # fmt: skip


def test_maps_of_one_kind_are_tasks_of_their_own(plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DigitsMOptions, "label_columns", lambda self: MAPS)
    tasks = [dense("depth"), dense("depth", labels="relief"), dense("semantic_segmentation")]
    columns = [
        {"label": "relief", "target.metric": "depth.relief.relative_error"},
        {"label": "class", "target.metric": "semantic_segmentation.mean_iou"},
    ]
    plan = plan_of(deepcopy(STUDY) | {"base/source/tasks": tasks, "grid/columns": columns})
    assert any(".dep-dep_relief-sem." in job.words for job in plan.jobs.values())
    figures = {cell.column: (cell.figure.unit, cell.figure.lower_is_better) for cell in plan.studies["small"].cells}
    assert figures == {"relief": ("%", True), "class": ("%", False)}
