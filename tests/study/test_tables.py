"""The paper's tables: their size, their figures, and what they share."""

from collections import Counter
from pathlib import Path

import pytest

from tessera.study.jobs import Job
from tessera.study.plan import Plan, make_plan

ROOT = Path(__file__).parents[2]
TABLES = ["table2", "table4", "table5", "table6"]
FOUR = "jigsaw+colorization+segmentation+reconstruction"


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The four tables at the paper's scale, with empty dataset folders in place."""
    data = tmp_path_factory.mktemp("data")
    for name in ("imagenet", "places365"):
        (data / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESSERA_DATA", str(data))
        return make_plan({"studies": TABLES, "scale": "paper", "strict": True}, ROOT)


def stage(plan: Plan, table: str, name: str) -> list[Job]:
    return [job for job in plan.jobs_of([table]).values() if job.stage == name]


# Pretrainings of a trial. Table 2: 2 sources x 5 sets of tasks x 2 methods. Table 4: supervised, MSVL and TTE, on two
# datasets. Table 5: nine readings. Table 6: 3 encoders x 2 sources.
@pytest.mark.parametrize(
    ("table", "rows", "columns", "published", "pretrainings"),
    [("table2", 41, 2, 82, 20), ("table4", 9, 2, 18, 6), ("table5", 10, 2, 18, 9), ("table6", 3, 4, 12, 6)],
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
    assert shared == {
        ("table2",): 3 * 18, ("table2", "table5", "table6"): 3, ("table2", "table6"): 3,
        ("table4",): 3 * 6, ("table5",): 3 * 8, ("table6",): 3 * 4,
    }  # fmt: skip


def test_the_paper_s_schedule_to_the_letter(paper: Plan) -> None:
    for job in paper.jobs.values():
        if job.stage == "pretrain_source" and job.settings["source"]["epochs"] > 0:
            source = job.settings["source"]
            assert (source["epochs"], source["iterations"], source["batch_size"]) == (50, 2000, 64)
            assert (source["optimizer"]["momentum"], source["optimizer"]["nesterov"]) == (0.9, False)
            fusion = source["fusion"]
            assert fusion["name"] == "none" or fusion["window"] == 5
        if job.stage == "transfer_knowledge":
            name = job.settings["transfer"]["name"]
            assert (job.settings["iterations"], job.settings["batch_size"]) == (2000, 64)
            assert job.settings["epochs"] in {"fsp": [50], "source_only": [0]}.get(name, [50, 70])


@pytest.mark.parametrize(
    ("table", "row", "column", "value"),
    [
        ("table2", f"imagenet, fsp, {FOUR}, tte", "C10s", 71.38),
        ("table2", "places365, soft_targets, jigsaw_plus+rwc+" + FOUR.partition("+")[2] + ", msvl", "STL-10", 63.38),
        ("table2", "target only", "STL-10", 61.19),
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


def test_the_reduced_scale_needs_two_archives_and_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    for name in ("cifar10.tar.xz", "tinyimagenet.tar.xz"):
        (tmp_path / name).touch()
    plan = make_plan({"studies": TABLES, "scale": "reduced"}, ROOT)
    assert plan.notes() == ["table4: column 'CIFAR-100': scale `reduced` has no stand-in for dataset `cifar100`"]
    jobs = plan.jobs_of(TABLES).values()
    datasets = [job.settings["dataset"] for job in jobs if job.stage == "prepare_dataset"]
    chosen = [d for d in datasets if d.get("path") == "tinyimagenet.tar.xz"]
    classes = [set(d["classes"]) for d in chosen]
    assert sorted(map(len, classes)) == [10, 95, 95]
    assert len(set.union(*classes)) == 200, "no class of a target is one of a source"
    assert {d["name"] for d in datasets} == {"image_folder"}


def test_the_bare_configuration_runs_the_tables() -> None:
    text = (ROOT / "config/config.yaml").read_text()
    assert f"studies: [{', '.join(TABLES)}]" in text
