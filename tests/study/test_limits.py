# ruff: noqa: E501 - a case a line
"""Studies that no one would wait for, YAML that Python ends on, and own parts that break: one line each, and soon."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.errors import StudyError, brief, in_short
from tessera.study.files import read_yaml
from tessera.study.plan import Plan, make_plan

PlanOf = Callable[..., Plan]

BOMB = "l0: &l0 [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)
)
ODD_FILES = [
    ("a: " + "[" * 1_500 + "]" * 1_500, "line 1, column 43: not valid YAML: nested more than 40 deep"),
    ("l0: &l0 [x]\n" + "\n".join(f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, 60)), "line 38, column 6: not valid YAML: nested more than 40 deep"),
    (BOMB, r"line 5, column 5: not valid YAML: stands for more than 50,000 values"),
    ("a: &a [*a]", "line 1, column 4: not valid YAML: an alias stands within what it stands for"),
    ("a: 1\nb: 2020-13-45", "line 2, column 4: not valid YAML: `2020-13-45` is no timestamp: put it in quotes"),
    ("a: 2020-12-24", "`a`: should be a word, a number, a list or settings, but is a date: put it in quotes"),
    ("a: !!int abc", "line 1, column 4: not valid YAML: `abc` is no int"),
    ("a: !!bool abc", "line 1, column 4: not valid YAML: `abc` is no bool"),
    ("a: !!timestamp abc", "line 1, column 4: not valid YAML: `abc` is no timestamp"),
    ("a: " + "9" * 5_000, "line 1, column 4: not valid YAML: `9999.* is no int"),
    ("a: 10000000000000000000000", "`a`: is a number of more than 64 bits"),
    ("a: [1.0, 1.0e+300]", r"`a\[1\]`: should be at most 3.4e\+38"),
    ("? [a, b]\n: 1", "line 1, column 3: not valid YAML: a key should be a word"),
    ("a: {[b]: 1}", "line 1, column 5: not valid YAML: a key should be a word"),
    ("a: {3: 1}", "`a.3`: a key should be a word, but is a int: put it in quotes"),
    ('a: "\\ud800"', r"`a`: '\\ud800' is no letter"),
    ('a: ["\\0"]', r"`a\[0\]`: '\\x00' is no letter"),
    ("a: 1\nb: x\0y", r"line 2: not valid YAML: the letter '\\x00' cannot stand in it"),
    ("a: " + "x" * 200_000, "has 200,003 letters, more than the 200,000 that are read: split it"),
    ("x" * 400 + ": 1", "`x+…xx`: has a key of more than 300 letters"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), ODD_FILES, ids=[message[-30:] for _, message in ODD_FILES])
def test_yaml_that_python_ends_on(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(StudyError, match=r"^odd\.yaml(, |: )" + message) as caught:
        read_yaml(tmp_path / "odd.yaml", "odd.yaml")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 700


def test_a_merge_key_is_laid_beneath_and_is_no_twin(tmp_path: Path) -> None:
    (tmp_path / "merge.yaml").write_text("a: &a {b: 1, c: 1}\nd: {<<: *a, b: 2}\n")
    assert read_yaml(tmp_path / "merge.yaml", "merge.yaml")["d"] == {"b": 2, "c": 1}


MANY = [{"label": f"row {n}", "source.batch_size": 8 + n % 9} for n in range(101)]
TOO_MANY: list[tuple[dict[str, Any], str]] = [
    ({"grid/rows": {f"source.{key}": list(range(1, 101)) for key in ("epochs", "iterations", "batch_size", "statistics_batches")}}, r"`grid`: 100,000,001 rows in 2 columns make 200,000,002 cells, but at most 10,000 are taken"),
    ({"grid/rows": MANY, "grid/columns": {"target.batch_size": list(range(2, 102))}}, r"`grid`: 102 rows in 100 columns make 10,200 cells"),
    ({"grid/columns": [{f"source.x{n}": 1 for n in range(5_000)}]}, r"`grid\.columns`: one entry has 5,000 keys, but at most 100 are taken"),
    ({"also": [{"label": "a", **{f"source.x{n}": 1 for n in range(200)}}]}, r"`also`: one entry has 200 keys"),
    ({"base": {"source": {f"x{n}": 1 for n in range(2_000)}}}, r"base: more than 1,000 settings stand here"),
    ({"grid/rows": [{"label": "x" * 301, "source.method": "tte"}]}, r"`grid\.rows`: `label` should have at most 300 letters, but has 301"),
    ({"also": [{"label": "x" * 301}]}, r"`also\[0\]\.label`: String should have at most 300"),
    ({"trials": 1_000, "grid/rows": MANY[:60]}, r"`trials`: 1,000 of 122 cells each are 122,000, but at most 50,000 are taken"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), TOO_MANY, ids=[message[-30:] for _, message in TOO_MANY])
def test_what_no_one_would_wait_for_is_refused_before_it_is_expanded(
    plan_of: PlanOf, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=r"^config/studies/small\.yaml: " + message) as caught:
        plan_of(changes)
    assert len(str(caught.value)) < 700


def test_values_that_are_long_are_told_in_short(plan_of: PlanOf, project: Path) -> None:
    long = "x" * 10_000
    for changes in (
        {"base/source/encoder": long}, {"base/source/tasks": [long] * 40}, {"base/target/network": {"name": long}},
        {"base/source/fusion": {long[:300]: 1}}, {"published": long}, {"base/source/batch_size": long}, {"scale": long},
        {"grid/rows": {"source.method": [long]}}, {"base/target/metric": long}, {"compare": [{"row": long, "against": long}]},
    ):  # fmt: skip
        with pytest.raises(StudyError, match=r"small\.yaml") as caught:
            plan_of(changes, **({"scale": None} if "scale" in changes else {}))
        assert len(str(caught.value)) < 2_000, str(caught.value)[:200]
    with pytest.raises(StudyError, match="`studies`: no study") as caught:
        make_plan({"studies": [long]}, project)
    assert len(str(caught.value)) < 500
    folder = {"name": "image_folder", "path": long, "image_size": 32}
    with pytest.raises(
        StudyError, match=r"dataset `image_folder`: cannot be looked for: .*File name too long"
    ) as caught:
        plan_of({"base/source/dataset": folder, "base/target/dataset": folder})


def test_a_message_of_many_lines_says_how_many_it_keeps_back() -> None:
    text = in_short("\n".join(f"file: `key{n}`: wrong" for n in range(100)))
    assert text.splitlines()[-1] == "… and 80 more lines like these"
    assert len(in_short("x" * 5_000)) < 700
    assert brief("a\nb\x07") == r"a\nb\x07"


@pytest.mark.parametrize("empty", [None, [], 3, ""])
@pytest.mark.parametrize("scale", ["smoke", "quickstart", "reduced"])
def test_a_part_that_was_left_empty(plan_of: PlanOf, scale: str, empty: Any) -> None:
    for key in ("network", "protocol", "dataset"):
        with pytest.raises(StudyError, match=rf"config/studies/small\.yaml: `target\.{key}`: "):
            plan_of({"base/target/x": 1, "base/target": {"dataset": "digits_m", key: empty}}, scale=scale)


MODULES = {
    "own_syntax": ("class Broken(:", r"its code is not valid Python: .*own_syntax\.py, line 1\)"),
    "own_raise": ("1 / 0", "its module raises ZeroDivisionError: division by zero"),
    "own_exit": ("import sys\nsys.exit(3)", "its module raises SystemExit: 3"),
    "own_options": ("class Broken:\n    Options = 3", "needs a class attribute `Options`"),
    "own_family": ("from tessera.registry import Options\nclass Broken:\n    Options = Options", r"`Options` of `own_family:Broken` should be a subclass of tessera\.tasks\.options\.base\.TaskOptions"),
    "own_method": ("from tessera.tasks.options import TaskOptions\nclass Broken:\n    class Options(TaskOptions):\n        def at(self, px):\n            return 1 / 0", r"part of your own \(`own_method:Broken`\) end in ZeroDivisionError"),
    "own_validator": ("from pydantic import model_validator\nfrom tessera.tasks.options import TaskOptions\nclass Broken:\n    class Options(TaskOptions):\n        @model_validator(mode='after')\n        def odd(self):\n            raise KeyError('odd')", r"part of your own \(`own_validator:Broken`\) end in KeyError"),
}  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_own_parts_that_break(plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    text, message = MODULES[module]
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(StudyError, match=r"config/studies/small\.yaml.*" + message) as caught:
        plan_of({"base/source/tasks": [f"{module}:Broken"]})
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["..x:y", ":y", "x:", "a b:c", "x.:y", "x:y:z", "x" * 5_000 + ":y"])
def test_names_that_no_part_can_have(plan_of: PlanOf, name: str) -> None:
    with pytest.raises(StudyError, match=r"`source\.tasks\[0\]`: Cannot import") as caught:
        plan_of({"base/source/tasks": [name]})
    assert len(str(caught.value)) < 700


def test_a_preset_is_a_plain_name_of_its_own_folder(plan_of: PlanOf) -> None:
    with pytest.raises(StudyError, match=r"Unknown method '\.\./scales/smoke'\. Known: .*dwa, .*equal, .*msvl"):
        plan_of({"grid/rows": {"source.method": ["../scales/smoke"]}})
