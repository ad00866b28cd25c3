"""A small project on disk: the shipped scales and methods, and studies that a test writes."""

import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml

from tessera.study.plan import Plan, make_plan

sys.path.insert(0, str(Path(__file__).parent))  # of study_mutations

REPOSITORY = Path(__file__).parents[2]

STUDY: dict[str, Any] = {
    "title": "A small study",
    "trials": 2,
    "base": {
        "source": {"dataset": "digits_m", "encoder": "resnet8", "tasks": ["jigsaw", "colorization"], "method": "tte"},
        "transfer": {"method": "fsp"},
        "target": {"dataset": "digits_m", "protocol": "classification"},
    },
    "grid": {
        "rows": {"source.method": ["equal", "tte"]},
        "columns": {"target.label_fraction": [0.1, 1.0]},
    },
    "also": [{"label": "target only", "transfer.method": "none"}],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TESSERA_DATA", raising=False)
    for kind in ("scales", "methods"):
        copytree(REPOSITORY / "config" / kind, tmp_path / "config" / kind)
    (tmp_path / "config" / "studies").mkdir()
    smoke = tmp_path / "config" / "scales" / "smoke.yaml"
    smoke.write_text(smoke.read_text().partition("stand_ins:")[0])  # tests write their own
    return tmp_path


PlanOf = Callable[..., Plan]


@pytest.fixture
def plan_of(project: Path) -> PlanOf:
    """Writes a study, with changes (dotted path to value; None deletes), and plans it."""

    def make(changes: dict[str, Any] | None = None, name: str = "small", **config: Any) -> Plan:
        study = yaml.safe_load(yaml.safe_dump(STUDY))
        for path, value in (changes or {}).items():
            holder, *words = study, *path.split("/")
            for word in words[:-1]:
                holder = holder[int(word) if isinstance(holder, list) else word]
            if value is None:
                del holder[words[-1]]
            else:
                holder[words[-1]] = value
        (project / "config" / "studies" / f"{name}.yaml").write_text(yaml.safe_dump(study))
        return make_plan({"studies": [name], "scale": "smoke", **config}, project)

    return make
