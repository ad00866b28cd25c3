"""Answers in plain words: above, below, noise, one trial, two trials, missing cells; which mean yes, and in short."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from tessera.jobs import Cell, Comparison, SummarizeStudy
from tessera.protocols.options import ClassificationProtocolOptions
from tessera.report.runs import Runs
from tessera.report.tables.machine_readable import as_json
from tessera.report.tables.markdown import markdown
from tessera.report.tables.table import read_table
from tessera.report.words.answers import Answer, Line, answers, gaps, headline, warnings

AGAINST = [24.0, 22.0, 26.0]
UNTRAINED = "untrained encoder"

FIGURES = {figure.name: figure for figure in ClassificationProtocolOptions().figures(None)}


def told(
    write: Any,
    root: Path,
    values: list[float],
    against: list[float] = AGAINST,
    metric: str = "accuracy",
    yes_if: Literal["better", "worse"] | None = "better",
) -> list[str]:
    """What is said of `rotation` against an untrained encoder, by linear probe."""
    cells = tuple(
        Cell(
            row=row, column="linear probe", protocol="linear_probe", figure=FIGURES[metric],
            artifacts=tuple(
                write(f"artifacts/target/{row.split()[0]}.t{trial}-{trial:08x}", {metric: value})
                for trial, value in enumerate(trials)
            ),
        )
        for row, trials in (("rotation", values), (UNTRAINED, against))
    )  # fmt: skip
    compare = (Comparison(row="rotation", against=UNTRAINED, question="Does it learn?", yes_if=yes_if),)
    study = SummarizeStudy(
        name="toy", title="T", description="", scale="smoke", trials=len(values), rows=("rotation", UNTRAINED),
        columns=("linear probe",), cells=cells, compare=compare, artifacts=(),
    )  # fmt: skip
    table = read_table(study, root)
    (answer,) = answers(table)
    texts = [line.text for line in answer.lines]
    assert all(f"- {text}\n" in markdown(table) for text in texts)
    assert headline(table) == f"Does it learn? {' '.join(texts)}"
    return texts


NAN = float("nan")


# Gaps 20, 21, 19: standard error 0.577, t for two degrees of freedom 4.303; 1, 3, -4: standard error 2.082.
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            [44.0, 43.0, 45.0],
            "Yes: rotation is above untrained encoder by 20.0 points (linear probe; 95 % interval 17.5 to 22.5, "
            "3 trials).",
        ),
        (
            [4.0, 1.0, 7.0],
            "No: rotation is below untrained encoder by 20.0 points (linear probe; 95 % interval 17.5 to 22.5, "
            "3 trials).",
        ),
        (
            [25.0, 25.0, 22.0],
            "No difference beyond noise: rotation against untrained encoder, ±0.0 points (linear probe; 95 % interval "
            "−9.0 to +9.0, 3 trials).",
        ),
        (
            [25.0, 25.0, NAN],
            "No difference beyond noise: rotation against untrained encoder, +2.0 points (linear probe; 95 % interval "
            "−10.7 to +14.7, 2 of 3 trials).",
        ),
        (AGAINST, "No difference: rotation equals untrained encoder in each of 3 trials (linear probe)."),
        (
            [26.0, 24.0, 28.0],
            "The same difference in each of 3 trials, so nothing can be said about spread: rotation against untrained "
            "encoder, +2.0 points (linear probe).",
        ),
        (
            [NAN, 23.0, NAN],
            "Only 1 of 3 trials has both figures, so nothing can be said about spread: rotation against untrained "
            "encoder, +1.0 points (linear probe).",
        ),
        ([NAN] * 3, "No answer (linear probe): no trial has a figure of both rotation and untrained encoder."),
    ],
)
def test_an_answer_reads_by_itself(write: Any, tmp_path: Path, values: list[float], said: str) -> None:
    assert told(write, tmp_path, values) == [said]


def test_one_trial_of_one_says_so(write: Any, tmp_path: Path) -> None:
    assert told(write, tmp_path, [28.4], [24.0]) == [
        "One trial, no spread: rotation against untrained encoder, +4.4 points (linear probe)."
    ]


@pytest.mark.parametrize(
    ("metric", "yes_if", "start"),
    [
        ("accuracy", None, "rotation is above"),
        ("accuracy", "worse", "No: rotation is above"),
        ("cross_entropy", "better", "No: rotation is above"),
        ("cross_entropy", "worse", "Yes: rotation is above"),
    ],
)
def test_only_the_study_knows_what_means_yes(
    write: Any, tmp_path: Path, metric: str, yes_if: Literal["better", "worse"] | None, start: str
) -> None:
    (text,) = told(write, tmp_path, [44.0, 43.0, 45.0], metric=metric, yes_if=yes_if)
    assert text.startswith(start)
    # A share is in points; another figure has its name.
    assert ("(linear probe; cross_entropy, lower is better; 95" in text) == (metric == "cross_entropy")
    assert ("points" in text) == (metric == "accuracy")


def test_a_comparison_of_rows_that_share_no_column_is_not_dropped(study: SummarizeStudy, tmp_path: Path) -> None:
    compare = (Comparison(row="tte", against="joint"), Comparison(row="joint", against="gone", question="And?"))
    table = read_table(study.model_copy(update={"compare": compare}), tmp_path)
    assert [(answer.question, [line.word for line in answer.lines]) for answer in answers(table)] == [
        ("", ["above"]),
        ("And?", ["missing"]),
    ]
    assert "No answer: no column has cells of both joint and gone." in markdown(table)


def test_many_answers_in_short() -> None:
    def short(*found: tuple[str, str]) -> str:
        return Answer("?", tuple(Line("", "above", word, column) for word, column in found)).short

    assert short(("yes", "probe")) == ""
    assert short(("yes", "probe"), ("yes", "kNN")) == "Yes in both comparisons."
    assert short(*[("noise", str(n)) for n in range(3)]) == "No difference beyond noise in all 3 comparisons."
    assert short(("yes", "probe"), ("noise", "kNN"), ("yes", "C10")) == (
        "Yes in probe and C10; no difference beyond noise in kNN."
    )
    assert short(("yes", "a"), ("no", "a")) == "Yes in 1 of 2 comparisons; no in 1 of 2 comparisons."


def test_table_json_keeps_its_keys_and_tells_the_answers(study: SummarizeStudy, tmp_path: Path) -> None:
    compare = (*study.compare, Comparison(row="joint", against="gone"))
    content = as_json(read_table(study.model_copy(update={"compare": compare}), tmp_path), made="")
    (found,) = json.loads(json.dumps(content))["comparisons"]
    assert {"question", "row", "against", "column", "metric", "mean", "standard_error", "interval", "n", "values",
            "verdict"} < set(found)  # fmt: skip
    assert found["answer"] == "tte is above joint by 1.3 points (C10; 95 % interval 0.6 to 2.1, 3 trials)."
    assert content["unanswered"][0]["answer"] == "No answer: no column has cells of both joint and gone."


def test_a_long_list_of_what_is_missing_stands_further_down(study: SummarizeStudy, tmp_path: Path) -> None:
    left = study.model_copy(update={"left_out": tuple(f"column {number}" for number in range(20))})
    table, runs = read_table(left, tmp_path), Runs(tmp_path, left.artifacts)
    assert len(gaps(table, runs)) == 20
    told = warnings(table, runs)
    assert "Left out for want of images: column 5." in told
    assert told[-1] == "14 more of this kind: see what failed, below."
