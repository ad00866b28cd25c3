import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from pydantic import BaseModel

from tessera import registry
from tessera.errors import StudyError
from tessera.multitask.source import Source
from tessera.parts import PART_OF
from tessera.study import export
from tessera.study.config import Config
from tessera.study.grid import expand
from tessera.study.json_schema import json_schema, model_schema
from tessera.study.reference import TABLES, config_reference, parts_overview, parts_page, type_text
from tessera.study.resolve import Presets, Resolver
from tessera.study.schema import Method, Scale, Study

ROOT = Path(__file__).parents[2]
SCHEMA = json_schema()
KINDS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("Study", "config/studies", Study),
    ("Scale", "config/scales", Scale),
    ("Method", "config/methods", Method),
    ("Config", "config", Config),
)
FILES = [(kind, path, model) for kind, folder, model in KINDS for path in sorted((ROOT / folder).glob("*.yaml"))]


def validator(kind: str) -> Draft7Validator:
    """For a study the schema itself, else the definition that files of this kind name in their first line."""
    return Draft7Validator(SCHEMA if kind == "Study" else {**SCHEMA["$defs"][kind], "$defs": SCHEMA["$defs"]})


def study(**changes: Any) -> dict[str, Any]:
    return {"title": "T", "base": {"source": {"dataset": "digits_m"}, "target": {"dataset": "digits_m"}}, **changes}


def test_generated_files_are_current() -> None:
    changes = export.stale(ROOT)
    assert not changes, f"{changes}\n\nNot current. Run: {export.COMMAND}"


@pytest.mark.parametrize(("kind", "path", "model"), FILES, ids=lambda value: getattr(value, "stem", ""))
def test_shipped_files_satisfy_schema_and_models(kind: str, path: Path, model: type[BaseModel]) -> None:
    content = yaml.safe_load(path.read_text())
    assert [error.message for error in validator(kind).iter_errors(content)] == []
    model.model_validate(content)


def test_the_schema_is_one_and_every_reference_leads_somewhere() -> None:
    Draft7Validator.check_schema(SCHEMA)
    text = json.dumps(SCHEMA)
    assert PART_OF not in text
    assert set(re.findall(r'"#/\$defs/([^"]+)"', text)) <= set(SCHEMA["$defs"])


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_every_part_and_each_of_its_options_is_in_the_schema(family: str) -> None:
    names = json.dumps(SCHEMA["$defs"][family])
    for name, part in registry.parts(family).items():
        assert f'"#/$defs/{family}.{name}"' in names
        assert set(part.options.model_fields) <= set(SCHEMA["$defs"][f"{family}.{name}"]["properties"])


@pytest.mark.parametrize(
    "changes",
    [
        {"base": {"source.method": "tte", "source.fusion.window": 3, "source.dataset+target.dataset": "cifar10"}},
        {"base": {"source": {"method": "tte", "fusion": {"window": 3}}, "transfer": {"method": "fsp", "width": 32}}},
        {"base": {"source": {"dataset": {"name": "image_folder", "path": "a.zip", "image_size": 32}}}},
        {"base": {"source": {"tasks": ["jigsaw", {"name": "my_package.mine:Task", "anything": 1}, "a.b:C"]}}},
        {"grid": {"rows": {"source.method": ["tte"], "target.label_fraction": [0.1, 1.0]}}},
        {"grid": {"columns": {"source.dataset+target.dataset": ["cifar10", {"name": "c10s", "fraction": 0.5}]}}},
        {"grid": {"rows": [{"label": "a", "source.method": "tte", "source.fusion.window": 3}]}},
        {"also": [{"label": "a", "column": "c", "transfer.method": "none"}]},
    ],
)
def test_the_grammar_of_settings_is_allowed(changes: dict[str, Any]) -> None:
    assert [error.message for error in validator("Study").iter_errors(study(**changes))] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tilte": "T"},
        {"trials": 0},
        {"base": {"sorce.method": "tte"}},
        {"base": {"source.metod": "tte"}},
        {"base": {"source": {"metod": "tte"}}},
        {"base": {"source": {"tasks": ["jigsw"]}}},
        {"base": {"source": {"tasks": [{"name": "jigsaw", "permutation": 5}]}}},
        {"base": {"source": {"tasks": [{"name": "jigsaw", "permutations": 1}]}}},
        {"base": {"transfer": {"method": "fps"}}},
        {"grid": {"rows": {"target.label_fraction": 0.1}}},
        {"grid": {"rows": {"target.label_fraction": [2.0]}}},
        {"grid": {"rows": [{"lable": "a"}]}},
        {"also": [{"transfer.method": "none"}]},
    ],
)
def test_mistakes_are_marked(changes: dict[str, Any]) -> None:
    assert list(validator("Study").iter_errors(study(**changes)))


def test_methods_scales_and_configurations_are_checked_as_well() -> None:
    assert list(validator("Method").iter_errors({"title": "T", "source": {}, "fixed": ["fusoin"]}))
    assert list(validator("Scale").iter_errors({"title": "T", "parts": {"fusion": {"tte": {"windw": 3}}}}))
    assert list(validator("Config").iter_errors({"studies": ["a"], "devise": "cpu"}))
    assert not list(validator("Config").iter_errors({"studies": "a"}))


def test_the_reference_has_every_key_and_what_it_means() -> None:
    text = config_reference(ROOT)
    models = [model for tables in TABLES.values() for _, model in tables]
    models += [part.options for family in registry.FAMILIES for part in registry.parts(family).values()]
    for model in models:
        for name, field in model.model_fields.items():
            if name != "name":
                meaning = (field.description or "").replace("|", r"\|")
                assert f"| `{name}` | {meaning}" in text, f"{model.__name__}.{name}"
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    empty = [line for line in lines if re.search(r"\|\s+\|", line) and "methods/" not in line]
    assert not empty, f"keys that do not say what they mean: {empty}"


def test_links_of_the_reference_lead_to_headings() -> None:
    text = config_reference(ROOT)
    headings = {line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_type_words() -> None:
    properties = model_schema(Source)["properties"]
    assert type_text(properties["tasks"]) == "list of [task](#task)"
    assert type_text(properties["optimizer"]) == "[optimizer](#optimizer)"
    assert type_text(properties["epochs"]) == "whole number, 0 or more"


@pytest.mark.parametrize("page", ["README.md", "docs/parts.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_part_has_a_line_of_its_page_and_its_name_in_the_readme() -> None:
    page, overview = parts_page(ROOT), parts_overview(ROOT)
    sections = {text.partition("\n")[0].lower(): text for text in page.split("\n## ")[1:]}
    lines = {re.findall(r"parts\.md#(\w+)", line)[0]: line for line in overview.splitlines()[2:]}
    assert list(lines) == list(sections) == ["methods", *registry.FAMILIES]
    for family in registry.FAMILIES:
        for name, part in registry.parts(family).items():
            assert f"| `{name}` | {part.title}" in sections[family].replace(r"\|", "|")
            assert f"`{name}`" in lines[family]
    for path in (ROOT / "config" / "methods").glob("*.yaml"):
        assert f"| `{path.stem}` | " in sections["methods"]
        assert f"`{path.stem}`" in lines["methods"]


def test_the_readmes_study_is_valid_to_the_last_cell() -> None:
    (block,) = re.findall(r"```yaml\n(# yaml-language-server.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    content = yaml.safe_load(block)
    assert [error.message for error in validator("Study").iter_errors(content)] == []
    example = Study.model_validate(content)
    rows, columns, cells = expand(example, "README.md")
    assert (len(rows), columns) == (5, ["linear_probe", "knn", "student"])
    resolver = Resolver(Presets(ROOT), "quickstart", example.base, "README.md")
    experiments = {(cell.row, cell.column): resolver.resolve(cell.settings, cell.row) for cell in cells}
    tte = experiments["TTE", "knn"]
    assert (tte.source.fusion.name, tte.source.fusion.model_dump()["window"]) == ("tte", 1)
    assert experiments["equal", "knn"].source.fusion.name == "none"
    assert {row for row, column in experiments if column == "student"} == {"target only", "soft targets from TTE"}


def test_check_fails_with_a_diff_and_the_command_and_export_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "config" / "methods", tmp_path / "config" / "methods")
    (tmp_path / "README.md").write_text(f"before\n{export.BEGIN}\nold\n{export.END}\nafter\n")
    assert export.main(["--check"], tmp_path) == 1
    message = capsys.readouterr().err
    assert "-old" in message
    assert f"Run: {export.COMMAND}" in message
    assert export.main([], tmp_path) == 0
    assert export.main(["--check"], tmp_path) == 0
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith(f"before\n{export.BEGIN}\n")
    assert readme.endswith(f"{export.END}\nafter\n")
    assert json.loads((tmp_path / "config" / "schema.json").read_text()) == SCHEMA
    (tmp_path / "docs" / "parts.md").write_text("old")
    assert export.main(["--check"], tmp_path) == 1
    assert "docs/parts.md (is)" in capsys.readouterr().err


def test_a_readme_without_markers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config" / "methods").mkdir(parents=True)
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(StudyError, match=r"needs the lines <!-- parts:begin -->"):
        export.generated(tmp_path)
    assert export.main([], tmp_path) == 1
    assert "parts:begin" in capsys.readouterr().err
