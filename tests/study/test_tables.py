"""The paper's tables: their size, their figures, and what they share."""

import tarfile
from collections import Counter
from pathlib import Path

import pytest
from shipped import ROOT, project

from tessera.jobs import Job
from tessera.study.plan import Plan, make_plan

TABLES = ["table2", "table3", "table4", "table5", "table6"]
FOUR = "jigsaw+colorization+segmentation+reconstruction"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The five tables at the paper's scale, with empty dataset folders in place."""
    data = tmp_path_factory.mktemp("data")
    for name in ("imagenet", "places365"):
        (data / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESSERA_DATA", str(data))
        return make_plan({"studies": TABLES, "scale": "paper", "strict": True}, project(data, *TABLES))


def stage(plan: Plan, table: str, name: str) -> list[Job]:
    return [job for job in plan.jobs_of([table]).values() if job.stage == name]


# Pretrainings of a trial. Table 2: 2 sources x 5 sets of tasks x 2 methods. Table 3: 5 sets x 2 methods, supervised and
# equal. Table 4: supervised, MSVL and TTE, on two datasets. Table 5: nine readings. Table 6: 3 encoders x 2 sources.
@pytest.mark.parametrize(
    ("table", "rows", "columns", "published", "pretrainings"),
    [
        ("table2", 41, 2, 82, 20),
        ("table3", 13, 2, 11, 12),
        ("table4", 9, 2, 18, 6),
        ("table5", 10, 2, 18, 9),
        ("table6", 3, 4, 12, 6),
    ],
)
def test_the_size_of_each_table(
    paper: Plan, table: str, rows: int, columns: int, published: int, pretrainings: int
) -> None:
    summary = paper.studies[table]
    assert (len(summary.rows), len(summary.columns), len(summary.cells)) == (rows, columns, rows * columns)
    assert sum(cell.published is not None for cell in summary.cells) == published
    assert len(stage(paper, table, "pretrain_source")) == 3 * pretrainings


def test_a_pretraining_that_tables_share_is_one_job(paper: Plan) -> None:
    shared = Counter(
        tuple(name for name in TABLES if name in job.run.studies)
        for job in paper.jobs_of(TABLES).values()
        if job.stage == "pretrain_source"
    )
    # Row 7 of Table 2 is KLD of Table 5 and ResNet-50 of Table 6; row 17 is that of Table 6 from Places365.
    # VGG16 of Table 6 is an encoder of Table 3.
    assert shared == {
        ("table2",): 3 * 18, ("table2", "table5", "table6"): 3, ("table2", "table6"): 3,
        ("table3",): 3 * 11, ("table3", "table6"): 3,
        ("table4",): 3 * 6, ("table5",): 3 * 8, ("table6",): 3 * 3,
    }  # fmt: skip


def test_the_paper_s_schedule_to_the_letter(paper: Plan) -> None:
    for job in paper.jobs.values():
        if job.stage == "pretrain_source" and job.settings["source"]["epochs"] > 0:
            source = job.settings["source"]
            assert (source["epochs"], source["iterations"], source["batch_size"]) == (50, 2000, 64)
            assert (source["optimizer"]["momentum"], source["optimizer"]["nesterov"]) == (0.9, False)
            fusion = source["fusion"]
            assert fusion["name"] == "none" or fusion["window"] == 5
        if job.stage == "transfer_knowledge" and job.settings["augmentation"] == "crop_flip":
            transfer = job.settings["transfer"]
            assert (job.settings["iterations"], job.settings["batch_size"]) == (2000, 64)
            if transfer["name"] == "source_only":
                assert job.settings["epochs"] == 0
            elif transfer.get("mode") == "two_stage":
                assert (job.settings["first_stage_epochs"], job.settings["epochs"]) == (20, 50)
            else:
                assert job.settings["epochs"] in (50, 70)


def test_detectors_follow_the_recipe_of_their_own_paper(paper: Plan) -> None:
    jobs = stage(paper, "table3", "transfer_knowledge")
    assert Counter(job.settings["transfer"]["name"] for job in jobs) == {"fine_tune": 3 * 12, "none": 3}
    for job in jobs:
        settings, optimizer = job.settings, job.settings["optimizer"]
        assert (settings["epochs"], settings["iterations"], settings["batch_size"]) == (120, 1000, 32)
        assert (optimizer["learning_rate"], optimizer["momentum"], optimizer["weight_decay"]) == (1e-3, 0.9, 5e-4)
        drops = [round(share * settings["epochs"] * settings["iterations"]) for share in optimizer["milestones"]]
        assert (drops, optimizer["factor"]) == ([80_000, 100_000], 0.1)
        assert settings["transfer"].get("lr_factor", 1.0) == 1.0
        network = settings["network"]
        assert (network["name"], network["image_size"], network["encoder"]["name"]) == ("ssd300", 300, "vgg16")
        assert (network["encoder"]["width"], network["encoder"]["batch_norm"]) == ("full", False)
        assert settings["augmentation"] == "ssd"


@pytest.mark.parametrize(
    ("table", "row", "column", "value"),
    [
        ("table2", f"imagenet, fsp, {FOUR}, tte", "C10s", 71.38),
        ("table2", "places365, soft_targets, jigsaw_plus+rwc+" + FOUR.partition("+")[2] + ", msvl", "STL-10", 63.38),
        ("table2", "target only", "STL-10", 61.19),
        ("table3", "jigsaw_plus+rwc+" + FOUR.partition("+")[2] + ", tte", "mAP, 11 points", 69.35),
        ("table3", "jigsaw+colorization, msvl", "mAP, 11 points", 60.41),
        ("table3", "supervised", "mAP, 11 points", 74.7),
        ("table4", "TTE, FSP", "CIFAR-100", 66.83),
        ("table4", "supervised, CETL", "CIFAR-10", 89.11),
        ("table5", "Jeffrey", "C10s", 64.48),
        ("table5", "Wasserstein", "STL-10", 68.74),
        ("table6", "VGG16", "C10s, from Places365", 68.70),
    ],
)  # fmt: skip
def test_published_values(paper: Plan, table: str, row: str, column: str, value: float) -> None:
    (cell,) = [cell for cell in paper.studies[table].cells if (cell.row, cell.column) == (row, column)]
    assert cell.published == value


def test_shared_rows_have_the_same_published_values(paper: Plan) -> None:
    values = {(t, c.row, c.column): c.published for t in TABLES for c in paper.studies[t].cells}
    for target in ("C10s", "STL-10"):
        row_7 = values["table2", f"imagenet, fsp, {FOUR}, tte", target]
        assert row_7 == values["table5", "KLD", target] == values["table6", "ResNet-50", f"{target}, from ILSVRC2012"]
        assert (
            values["table2", f"places365, fsp, {FOUR}, tte", target]
            == (values["table6", "ResNet-50", f"{target}, from Places365"])
        )


def test_the_reduced_scale_needs_four_archives_and_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    for name in ("bccd.tar.xz", "cifar10.tar.xz", "cifar100.tar.xz", "tinyimagenet.tar.xz"):
        tarfile.open(tmp_path / name, "w:xz").close()
    plan = make_plan({"studies": TABLES, "scale": "reduced"}, project(tmp_path, *TABLES))
    assert plan.notes() == []
    jobs = plan.jobs_of(TABLES).values()
    datasets = [job.settings["dataset"] for job in jobs if job.stage == "prepare_dataset"]
    assert [dataset for dataset in datasets if dataset["name"] == "voc_folder"] == [
        job.settings["dataset"] for job in stage(plan, "table3", "prepare_dataset") if "bccd" in job.words
    ]
    chosen = [d for d in datasets if d.get("path") == "tinyimagenet.tar.xz"]
    classes = [set(d["classes"]) for d in chosen]
    assert sorted(map(len, classes)) == [10, 95, 95]
    assert len(set.union(*classes)) == 200, "no class of a target is one of a source"
    assert {d["name"] for d in datasets} == {"image_folder", "voc_folder"}


def test_bccd_is_the_reduced_table3_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    for name in ("bccd.tar.xz", "tinyimagenet.tar.xz"):
        tarfile.open(tmp_path / name, "w:xz").close()
    root = project(tmp_path, "table3", "bccd")
    plan = make_plan({"studies": ["table3", "bccd"]}, root)
    assert plan.studies["bccd"].scale == "reduced"
    plan = make_plan({"studies": ["table3", "bccd"], "scale": "reduced"}, root)
    assert plan.notes() == []
    assert set(plan.jobs_of(["bccd"])) < set(plan.jobs_of(["table3"]))
    # 2 datasets; labels of jigsaw and colorization; TTE and equal; they and scratch, each trained and measured.
    assert len(plan.jobs_of(["bccd"])) == 2 + 2 + 3 * (2 + 3 + 3)
    for job in stage(plan, "bccd", "transfer_knowledge"):
        encoder = job.settings["network"]["encoder"]
        assert (encoder["name"], encoder["width"], encoder["batch_norm"]) == ("vgg16", "quarter", True)


def test_the_bare_configuration_runs_the_tables() -> None:
    text = (ROOT / "config/config.yaml").read_text()
    assert f"studies: [{', '.join(TABLES)}]" in text
