import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import ArtifactError
from tessera.figures import Figure
from tessera.jobs import Cell, Comparison, SummarizeStudy
from tessera.registry import find
from tessera.report.summary import summarize


def results(root: Path, name: str) -> Path:
    return root / "results" / "toy" / name


def test_table_json_holds_the_cells_worked_by_hand(study: SummarizeStudy, tmp_path: Path) -> None:
    summarize(study, tmp_path)
    table: dict[str, Any] = json.loads(results(tmp_path, "table.json").read_text())
    assert (table["rows"], table["columns"]) == (["tte", "joint"], ["C10", "C100"])
    assert (table["title"], table["description"], table["scale"], table["trials"]) == (
        "Does it work?", "A toy.", "smoke", 3,
    )  # fmt: skip
    tte, hundred, joint = table["cells"]
    assert tte["values"] == [71.0, 72.0, 74.0]
    assert tte["mean"] == pytest.approx(217 / 3, abs=1e-6)
    assert tte["std"] == pytest.approx((7 / 3) ** 0.5, abs=1e-6)  # squared deviations 16/9 + 1/9 + 25/9, over 2
    assert tte["published"] == 73.0
    assert tte["difference"] == pytest.approx(217 / 3 - 73, abs=1e-6)
    assert tte["chance"] == 25.0
    assert tte["artifacts"] == list(study.cells[0].artifacts)
    assert tte["metrics"] == {"accuracy": tte["mean"], "train_accuracy": 91.0}
    assert (joint["published"], joint["difference"]) == (None, None)
    assert (hundred["mean"], hundred["std"], hundred["values"]) == (0.5, None, [0.5])


def test_markdown_shows_spread_best_cell_paper_and_missing_cells(study: SummarizeStudy, tmp_path: Path) -> None:
    text = summarize(study, tmp_path)
    assert text == results(tmp_path, "table.md").read_text()
    assert "|  | C10 | C100 |" in text
    assert "| tte | **72.3 ± 1.5** (paper 73, −0.7) | 0.500 |" in text
    assert "| joint | 71.0 ± 1.3 | – |" in text
    assert "over 3 trials; scale `smoke`" in text
    assert "frozen features of the source encoder (`linear_probe`, figure `accuracy`, %; higher is better" in text
    assert "chance is 25)" in text
    assert "figure `cross_entropy`; lower is better)" in text
    assert "9 artifacts, 4 min of compute, on a CPU and a GPU." in text  # 9 x 30 s


def test_a_comparison_is_a_plain_sentence_under_its_question(study: SummarizeStudy, tmp_path: Path) -> None:
    text = summarize(study, tmp_path)
    # Gaps 1, 1.5, 1.5: mean 1.333, standard error 0.1667, t for two degrees of freedom 4.3027.
    assert "**Does fusion help?**" in text
    assert "- tte is above joint by 1.3 points (C10; 95 % interval 0.6 to 2.1, 3 trials)." in text
    (found,) = json.loads(results(tmp_path, "table.json").read_text())["comparisons"]
    assert found["verdict"] == "above"
    assert found["column"] == "C10"
    assert found["values"] == [1.0, 1.5, 1.5]
    assert found["standard_error"] == pytest.approx(1 / 6, abs=1e-6)
    assert found["interval"] == pytest.approx([4 / 3 - 4.302653 / 6, 4 / 3 + 4.302653 / 6], abs=1e-5)


def test_noise_is_never_called_a_gain(study: SummarizeStudy, tmp_path: Path, write: Any) -> None:
    write(study.cells[0].artifacts[0], {"accuracy": 66.0})
    text = summarize(study, tmp_path)
    assert (
        "- No difference beyond noise: tte against joint, −0.3 points (C10; 95 % interval −8.2 to +7.6, 3 trials)."
        in text
    )
    assert "above" not in text
    assert "| joint | **71.0 ± 1.3** | – |" in text


def test_a_stand_in_is_never_passed_over_in_silence(study: SummarizeStudy, tmp_path: Path) -> None:
    text = summarize(study.model_copy(update={"stand_ins": {"cifar10": "digits_m"}}), tmp_path)
    assert "scale `smoke`. Stand-ins at this scale: digits_m for cifar10." in text
    assert json.loads(results(tmp_path, "table.json").read_text())["stand_ins"] == {"cifar10": "digits_m"}


def test_one_trial_says_that_it_proves_nothing(study: SummarizeStudy, tmp_path: Path) -> None:
    cells = [cell.model_copy(update={"artifacts": cell.artifacts[:1]}) for cell in study.cells]
    text = summarize(study.model_copy(update={"cells": tuple(cells), "trials": 1}), tmp_path)
    assert "One trial; scale `smoke`." in text
    assert "| tte | **71.0** (paper 73, −2.0) | 0.500 |" in text
    assert "- One trial, no spread: tte against joint, +1.0 points (C10)." in text
    assert "Without a spread" in text


def test_a_trial_without_a_figure_is_named(study: SummarizeStudy, tmp_path: Path, write: Any) -> None:
    write(study.cells[0].artifacts[1], {"accuracy": float("nan")})
    text = summarize(study, tmp_path)
    assert "**72.5 ± 2.1** (paper 73, −0.5; 2 of 3 trials)" in text
    (first, *_) = json.loads(results(tmp_path, "table.json").read_text())["cells"]
    assert first["values"] == [71.0, None, 74.0]
    assert ",71.0 nan 74.0\n" in results(tmp_path, "table.csv").read_text()


def test_rows_that_are_measured_differently_are_neither_ranked_nor_compared(
    study: SummarizeStudy, tmp_path: Path
) -> None:
    other = study.cells[1].model_copy(update={"figure": Figure(name="train_accuracy", unit="%")})
    text = summarize(study.model_copy(update={"cells": (study.cells[0], other)}), tmp_path)
    assert "**72.3" not in text
    assert "- No answer (C10): tte and joint are measured differently there." in text


def test_a_smaller_cross_entropy_is_the_better_one(study: SummarizeStudy, tmp_path: Path, write: Any) -> None:
    folder = write("artifacts/target/worse-bbbbbbbb", {"cross_entropy": 0.9})
    worse = Cell(
        row="joint",
        column="C100",
        protocol="classification",
        figure=Figure(name="cross_entropy", lower_is_better=True),
        artifacts=(folder,),
    )
    text = summarize(study.model_copy(update={"cells": (*study.cells, worse)}), tmp_path)
    assert "| **0.500** |" in text
    assert "| 0.900 |" in text


def test_csv_and_metrics_agree_with_the_table(study: SummarizeStudy, tmp_path: Path) -> None:
    summarize(study, tmp_path)
    with results(tmp_path, "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["row"], line["column"]) for line in lines] == [("tte", "C10"), ("tte", "C100"), ("joint", "C10")]
    assert [float(value) for value in lines[0]["values"].split()] == [71.0, 72.0, 74.0]
    assert (lines[0]["trials"], lines[1]["std"], lines[2]["published"]) == ("3", "", "")
    metrics = json.loads(results(tmp_path, "metrics.json").read_text())
    assert metrics == {"tte": {"C10": pytest.approx(217 / 3, abs=1e-6), "C100": 0.5}, "joint": {"C10": 71.0}}


def test_what_datasets_passed_over_is_counted_in_the_metrics(study: SummarizeStudy, tmp_path: Path, write: Any) -> None:
    boxes = write("artifacts/datasets/boxes-00000001", {"num_skipped": 5.0})
    again = write("artifacts/datasets/boxes-00000002", {"num_skipped": 2.0})
    write(study.artifacts[0], {"num_skipped": 0.0})
    summarize(study.model_copy(update={"artifacts": (*study.artifacts, boxes, again)}), tmp_path)
    metrics = json.loads(results(tmp_path, "metrics.json").read_text())
    assert metrics["skipped"] == {"total": 7, "boxes": 7}
    summarize(study, tmp_path)
    assert json.loads(results(tmp_path, "metrics.json").read_text())["skipped"] == {"total": 0}


def test_average_precision_is_in_percent(write: Any, tmp_path: Path) -> None:
    folder = write("artifacts/target/a-00000000", {"map_voc07": 40.0, "map_area": 38.0})
    cells = tuple(
        Cell(row="a", column=metric, protocol="detection", figure=Figure(name=metric, unit="%"), artifacts=(folder,))
        for metric in ("map_voc07", "map_area")
    )
    study = SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=1, rows=("a",), columns=("map_voc07", "map_area"),
        cells=cells, compare=(), artifacts=(folder,),
    )  # fmt: skip
    text = summarize(study, tmp_path)
    assert "(`detection`, figure `map_voc07`, %; higher is better" in text
    assert "Figure `map_area` of `detection`, %; higher is better" in text


def test_the_stages_of_a_training_are_curves_of_their_own(study: SummarizeStudy, tmp_path: Path, write: Any) -> None:
    history = "stage,epoch,loss\nfirst,1,3\nsecond,1,2\nsecond,2,1\n"
    folder = write("artifacts/transfer/n.t0-12345678", history=history)
    summarize(study.model_copy(update={"artifacts": (folder,)}), tmp_path)
    lines = results(tmp_path, "curves.csv").read_text().splitlines()[1:]
    assert [line.partition(",transfer,")[2] for line in lines] == ["1,first.loss,3", "1,loss,2", "2,loss,1"]


def test_curves_are_long_and_numbers_only(study: SummarizeStudy, tmp_path: Path) -> None:
    summarize(study, tmp_path)
    assert results(tmp_path, "curves.csv").read_text() == (
        "artifact,stage,epoch,name,value\ns.t0-12345678,source,1,loss,2.5\ns.t0-12345678,source,2,loss,1.25\n"
    )


def test_latex_is_booktabs_and_escaped(study: SummarizeStudy, tmp_path: Path) -> None:
    study = study.model_copy(update={"title": r"50% of $a_b & {c} #1 ~ ^ \x"})
    summarize(study, tmp_path)
    text = results(tmp_path, "table.tex").read_text()
    assert r"50\% of \$a\_b \& \{c\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}x. Mean" in text
    assert r"tte & \textbf{72.3} $\pm$ 1.5 (73) & 0.500 \\" in text
    assert r"joint & 71.0 $\pm$ 1.3 & -- \\" in text
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    assert text.count("{tabular}") == 2


def test_the_marker_comes_last_and_alone(study: SummarizeStudy, tmp_path: Path) -> None:
    old = results(tmp_path, "provenance-0badc0de.json")
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    summarize(study, tmp_path)
    marker = tmp_path / study.marker
    assert list(marker.parent.glob("provenance-*.json")) == [marker]
    assert not list(marker.parent.glob(".*"))
    content = json.loads(marker.read_text())
    assert content["key"] == study.key
    assert content["artifacts"] == list(study.artifacts)
    assert content["versions"] == {"numpy": ["2.0", "2.1", "2.2"], "torch": ["2.9"]}
    assert content["stages"]["pretrain_source"] >= 1


def test_a_file_that_links_into_a_cache_is_replaced_not_written_through(study: SummarizeStudy, tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    cache.write_text("old")
    for name, link in (("metrics.json", os.link), ("table.json", os.symlink)):
        results(tmp_path, name).parent.mkdir(parents=True, exist_ok=True)
        link(cache, results(tmp_path, name))
    summarize(study, tmp_path)
    assert cache.read_text() == "old"
    assert not results(tmp_path, "table.json").is_symlink()


def test_a_second_run_writes_the_same_bytes(study: SummarizeStudy, tmp_path: Path) -> None:
    def read() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in results(tmp_path, "").rglob("*") if path.is_file()}

    summarize(study, tmp_path)
    first = read()
    summarize(study, tmp_path)
    assert read() == first


def test_missing_artifacts_and_figures_are_named_and_nothing_is_touched(study: SummarizeStudy, tmp_path: Path) -> None:
    unknown = study.model_copy(
        update={"cells": (study.cells[0].model_copy(update={"figure": Figure(name="acuracy")}),)}
    )
    with pytest.raises(ArtifactError, match=r"no figure `acuracy` for row 'tte'\. Did you mean 'accuracy'\?"):
        summarize(unknown, tmp_path)
    (tmp_path / study.cells[0].artifacts[0] / "metrics.json").unlink()
    with pytest.raises(ArtifactError, match=r"tte\.t0-00000000/metrics\.json: cannot be read"):
        summarize(study, tmp_path)
    assert not results(tmp_path, "").exists()


def test_artifacts_that_say_little_of_themselves_do(study: SummarizeStudy, tmp_path: Path) -> None:
    for path in tmp_path.glob("artifacts/*/*/artifact.json"):
        path.write_text("{}")
    assert "9 artifacts, 0 s of compute." in summarize(study, tmp_path)


def test_a_study_without_columns_and_a_users_own_protocol(write: Any, tmp_path: Path) -> None:
    folder = write("artifacts/target/a-00000000", {"score": -1.5})
    protocol = "no_such_package.mine:Mine"
    cell = Cell(row="a|b", column="", protocol=protocol, figure=Figure(name="score"), artifacts=(folder,))
    study = SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=1, rows=("a|b",), columns=("",), cells=(cell,),
        compare=(Comparison(row="a|b", against="gone"),), artifacts=(folder,),
    )  # fmt: skip
    text = summarize(study, tmp_path)
    assert "|  | score |" in text
    assert r"| a\|b | −1.50 |" in text
    assert f"- {protocol} (`{protocol}`, figure `score`; higher is better)." in text
    assert json.loads(results(tmp_path, "metrics.json").read_text()) == {"a|b": {"score": -1.5}}


def test_clustering_has_no_simple_chance(write: Any, tmp_path: Path) -> None:
    dataset = write("artifacts/datasets/toy-00000000")
    (tmp_path / dataset / "dataset.json").write_text(json.dumps({"classes": ["a", "b"]}))
    folders = [write(f"artifacts/{stage}/a-00000000", {"accuracy": 50.0}, inputs={"dataset": dataset})
               for stage in ("target", "clusters")]  # fmt: skip
    cells = tuple(
        Cell(
            row=folder,
            column="c",
            protocol=protocol,
            figure=find("protocol", protocol).options().figures(None)[0],
            artifacts=(folder,),
        )
        for folder, protocol in zip(folders, ("knn", "clustering"), strict=True)
    )
    study = SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=1, rows=tuple(folders), columns=("c",),
        cells=cells, artifacts=tuple(folders),
    )  # fmt: skip
    summarize(study, tmp_path)
    found = json.loads(results(tmp_path, "table.json").read_text())["cells"]
    assert [cell["chance"] for cell in found] == [50.0, None]


def test_reports_never_import_torch() -> None:
    code = "import tessera.report.summary, sys; sys.exit('torch' in sys.modules)"
    workflow = Path(__file__).parents[2] / "workflow"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(workflow)}).returncode == 0


def test_a_damaged_source_leaves_the_old_tables_and_their_marker(study: SummarizeStudy, tmp_path: Path) -> None:
    summarize(study, tmp_path)
    source = "artifacts/source/cifar10.resnet26.lasso.t0-00000000"
    (tmp_path / source).mkdir(parents=True)
    (tmp_path / source / "metrics.json").write_text("{")
    changed = study.model_copy(update={"title": "Another", "artifacts": (*study.artifacts, source)})
    with pytest.raises(ArtifactError, match=r"lasso.*metrics\.json"):
        summarize(changed, tmp_path)
    assert (tmp_path / study.marker).exists()
    assert "Does it work?" in results(tmp_path, "table.md").read_text()


def test_labels_that_look_like_tags_stay_words(study: SummarizeStudy, tmp_path: Path) -> None:
    tag = "<script>alert(1)</script>"
    cells = tuple(cell.model_copy(update={"row": tag if cell.row == "tte" else cell.row}) for cell in study.cells)
    words = {
        "title": f"{tag} < 5",
        "description": tag,
        "rows": (tag, "joint"),
        "left_out": (f"row '{tag}'",),
        "part": tag,
    }
    asked = (Comparison(row=tag, against="joint", question=f"{tag}?"),)
    text = summarize(study.model_copy(update={"cells": cells, "compare": asked, **words}), tmp_path)
    outside = re.sub("`[^`]*`", "", text)
    assert "<script" not in outside
    assert "</script" not in outside
    assert "# &lt;script>alert(1)&lt;/script> < 5\n" in text
    assert f"`tessera diff '{tag}' 'joint' --study toy`" in text


def test_a_command_whose_label_has_backticks_stays_one(study: SummarizeStudy, tmp_path: Path) -> None:
    cells = tuple(cell.model_copy(update={"row": "`a`" if cell.row == "tte" else cell.row}) for cell in study.cells)
    text = summarize(study.model_copy(update={"cells": cells, "rows": ("`a`", "joint"), "compare": ()}), tmp_path)
    assert "``tessera diff '`a`' 'joint' --study toy``" in text
