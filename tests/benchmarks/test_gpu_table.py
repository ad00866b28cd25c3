"""The kit's table: its study, its dataset, and what it cost."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.gpu import table
from benchmarks.gpu.options import SIZES, Kit
from tessera.study.plan import make_plan


@pytest.mark.parametrize("scale", SIZES)
@pytest.mark.parametrize("share", [0.002, 0.07, 1.0])
def test_the_table_s_study_can_be_planned(
    scale: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    folder, size = tmp_path / "table4", SIZES[scale]
    dataset, told = table.choose_dataset(Kit("cpu", scale, 1.0, tmp_path, tmp_path))
    assert dataset == {"name": "digits_m"}
    assert "made here" in told
    table.lay_out(folder, "tried", size, dataset, share, "cpu")
    plan = make_plan(yaml.safe_load((folder / "config" / "config.yaml").read_text()), folder)
    assert not plan.failed
    study = plan.studies["tried"]
    assert study.columns == ("CIFAR-10",)
    assert len(study.rows) == (9 if scale == "full" else 1)
    assert all(cell.published for cell in study.cells)
    sources = [job for job in plan.jobs.values() if job.stage == "pretrain_source"]
    assert sources
    if scale == "full":
        steps_of = [job.settings["source"]["epochs"] * job.settings["source"]["iterations"] for job in sources]
        assert all(number == pytest.approx(100_000 * share, rel=0.1) for number in steps_of)
        assert {job.settings["source"]["batch_size"] for job in sources} == {64}


def test_a_table_that_is_cut_off_costs_what_all_its_calls_cost(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = iter([{"tte": 30.0}, {"msvl": 20.0}])

    class Run:
        """Leaves the history of one training a call."""

        def __init__(self, *_: Any, cwd: Path, **__: Any) -> None:
            self.folder = cwd

        def wait(self, _: float) -> None:
            ((name, seconds),) = next(trained).items()
            (self.folder / "artifacts" / "source" / name).mkdir(parents=True)
            (self.folder / "artifacts" / "source" / name / "history.csv").write_text(f"seconds\n{seconds}\n")

    def stop(*_: Any) -> None:
        if len(list(kit.work.glob("table4/artifacts/source/*"))) == 1:
            raise KeyboardInterrupt  # in the first call

    clock = iter([0.0, 100.0, 500.0, 560.0])
    monkeypatch.setattr(table.subprocess, "Popen", Run)
    monkeypatch.setattr(table, "stop", stop)
    monkeypatch.setattr(table.time, "monotonic", lambda: next(clock))
    kit.work.mkdir()
    with pytest.raises(KeyboardInterrupt):
        table.measure(kit, 0.002, 9.0)
    found = table.measure(kit, 0.002, 9.0)
    assert found["training"] == {"source/msvl": 20.0, "source/tte": 30.0}
    assert found["seconds_of_run"] == 160.0


def test_an_archive_of_cifar10_goes_before_made_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_DATA", str(tmp_path))
    full = Kit("cpu", "full", 1.0, tmp_path, tmp_path)
    (tmp_path / table.ARCHIVE).touch()
    assert table.choose_dataset(full)[0]["path"] == table.ARCHIVE
    (tmp_path / table.ORIGINAL[0]).mkdir()
    assert table.choose_dataset(full) == ({"name": "cifar10"}, "CIFAR-10")
