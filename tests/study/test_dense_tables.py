"""The tables of dense scenes: their size, their sources' schedules, and what stands in where no set is at hand."""

import tarfile
from pathlib import Path

import pytest
from shipped import project

from tessera.jobs import Job
from tessera.study.plan import Plan, make_plan

DGR = ["dgr_table2", "dgr_table3", "dgr_table4", "dgr_table4_cityscapes"]
THESIS = ["thesis_cityscapes", "thesis_table21", "thesis_table21_nyuv2"]
TABLES = [*DGR, *THESIS]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The tables at their papers' scale, whatever images there are."""
    data = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tessera.study.plan._missing_images", lambda plan, jobs: None)
        return make_plan({"studies": TABLES, "scale": "paper", "trials": 1}, project(data, *TABLES))


def sources(plan: Plan, table: str) -> list[Job]:
    return [job for job in plan.jobs_of([table]).values() if job.stage == "pretrain_source"]


# Trainings of a trial. Tables 2 and 3: 32, and one a task. Table 4: 12 each of one and of two tasks, 4 of three. Table
# 3.2: split and MTAN by three sets of classes; segmentation and depth alone, twice. Table 2.1: six, twice one a task.
@pytest.mark.parametrize(
    ("table", "rows", "columns", "published", "trainings"),
    [
        ("dgr_table2", 33, 3, 3 + 30 * 3, 35),
        ("dgr_table3", 33, 3, 33 * 3, 35),
        ("dgr_table4", 12, 3, 0, 28),
        ("dgr_table4_cityscapes", 12, 3, 0, 28),
        ("thesis_cityscapes", 4, 6, 18, 18),
        ("thesis_table21", 8, 2, 14, 10),
        ("thesis_table21_nyuv2", 8, 3, 5, 12),
    ],
)
def test_the_size_of_each_table(
    paper: Plan, table: str, rows: int, columns: int, published: int, trainings: int
) -> None:
    summary = paper.studies[table]
    assert (len(summary.rows), len(summary.cells)) == (rows, rows * columns)
    assert summary.delta is not None
    assert summary.columns[-1] == "Δm"
    assert len(summary.columns) == columns + 1
    assert sum(cell.published is not None for cell in summary.cells) == published
    assert len(sources(paper, table)) == trainings


@pytest.mark.parametrize("table", TABLES)
def test_the_sources_schedules_to_the_letter(paper: Plan, table: str) -> None:
    rooms = table in ("dgr_table2", "dgr_table4", "thesis_table21_nyuv2")
    for job in sources(paper, table):
        source = job.settings["source"]
        optimizer = source["optimizer"]
        budget = source["epochs"], source["iterations"], source["batch_size"]
        assert optimizer["clip_norm"] is None
        if table in DGR:
            assert budget == (200, 199 if rooms else 744, 4)
            assert (optimizer["schedule"], optimizer["momentum"]) == ("cosine", 0.9)
            nash = source["balancing"]["name"] == "nash_mtl"
            assert (optimizer.get("kind", "sgd"), optimizer["learning_rate"]) == (
                ("adam", 1e-3) if nash else ("sgd", 0.1)
            )
            assert (source["encoder"]["name"], source["encoder"]["dilate"]) == ("resnet50", True)
            for task in source["tasks"]:
                views = task["scales"], task["crop"]
                assert views == (([1.0, 1.2, 1.5], None) if rooms else ([], [256, 256]))
                assert (task["head"], task["hidden"]) == ("aspp", None)
        else:
            assert budget == (150, 100 if rooms else 372, 8)
            assert (optimizer["learning_rate"], optimizer["factor"], optimizer["weight_decay"]) == (0.01, 0.5, 0.0)
            halved = [round(share * 150) for share in optimizer["milestones"]]
            assert halved == list(range(25, 150, 25) if source["balancing"]["name"] == "uncertainty" else (50, 100))
            assert (source["encoder"]["name"], source["encoder"]["width"]) == ("segnet", "full")


def test_tables_of_the_same_classes_share_their_trainings(paper: Plan) -> None:
    # Single task, single task with attention, split, MTAN: of 7 classes, equal weights.
    shared = {job.folder for job in sources(paper, "thesis_cityscapes")} & {
        job.folder for job in sources(paper, "thesis_table21")
    }
    assert len(shared) == 6


@pytest.mark.parametrize(
    "scale", ["reduced", *(pytest.param(name, marks=pytest.mark.slow) for name in ("smoke", "quickstart"))]
)
def test_below_the_papers_scale_nothing_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: str
) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    plan = make_plan({"studies": TABLES, "scale": scale, "trials": 1}, project(tmp_path, *TABLES))
    assert plan.notes() == []
    datasets = [
        job.settings["dataset"]["name"] for job in plan.jobs_of(TABLES).values() if job.stage == "prepare_dataset"
    ]
    assert set(datasets) == {"rendered_scenes"}


def test_real_images_need_their_archives_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    names = ["camvid", "sevenscenes"]
    for name in names:
        tarfile.open(tmp_path / f"{name}.tar.xz", "w:xz").close()
    plan = make_plan({"studies": names}, project(tmp_path, *names))
    assert plan.notes() == []
    assert [plan.studies[name].scale for name in names] == ["reduced", "reduced"]
    # A trial: four rows of two numbers of images; one network a task, and four of both.
    assert [len(sources(plan, name)) for name in names] == [3 * 8, 3 * 6]
    for job in [*sources(plan, "camvid"), *sources(plan, "sevenscenes")]:
        encoder = job.settings["source"]["encoder"]
        assert encoder["name"] == "resnet8" or encoder["width"] == "eighth"
