"""What each stage imports: a library that takes seconds to load comes only where a part needs it."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tessera.artifacts import resume_folder
from tessera.jobs import Job
from tessera.study.plan import make_plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Run = Callable[..., subprocess.CompletedProcess[str]]

HEAVY = {
    "torch", "torch._dynamo", "torch._inductor", "sympy", "torchvision", "scipy", "sklearn", "matplotlib", "pandas",
    "mlflow", "snakemake", "dvc",
}  # fmt: skip
TORCH, SCIKIT = {"torch"}, {"torch", "scipy", "sklearn", "pandas"}  # which scikit-learn imports where it is
MAY = {
    "prepare_dataset": TORCH,
    "generate_pretext_labels": TORCH,
    "pretrain_source": TORCH,
    "transfer_knowledge none": TORCH,
    "transfer_knowledge fsp": TORCH,
    "transfer_knowledge soft_targets": SCIKIT,  # k-means
    "evaluate_target knn": TORCH,
    "evaluate_target classification": TORCH,
    "evaluate_target linear_probe": SCIKIT,
    "cluster_target": SCIKIT,
    "summarize_study": {"scipy", "matplotlib"},
}
STUDY = """
title: Every stage, and the parts that are used most
scale: smoke
trials: 1
base:
  source.dataset+target.dataset: {name: image_folder, path: shades, image_size: 32}
  source: {encoder: resnet8, method: tte, tasks: [jigsaw, colorization, segmentation, reconstruction, classification]}
  target: {protocol: classification, network: reduced_alexnet}
grid:
  columns:
    - {label: alone, transfer.method: none}
    - {label: soft, transfer.method: soft_targets}
    - {label: fsp, transfer.method: fsp}
    - {label: linear_probe, target.protocol: linear_probe}
    - {label: knn, target.protocol: knn}
    - {label: clustering, target.protocol: clustering}
"""


def kind_of(job: Job) -> str:
    """Its stage, and the part of it that decides what is imported."""
    family = {"evaluate_target": "protocol", "transfer_knowledge": "transfer"}.get(job.stage)
    return f"{job.stage} {job.settings[family]['name']}" if family else job.stage


@pytest.fixture
def imported(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What of `HEAVY` the jobs of each kind imported, from start to end."""
    (project / "config" / "studies" / "tiny.yaml").write_text(STUDY)
    monkeypatch.chdir(project)
    plan = make_plan(yaml.safe_load(Path("config/config.yaml").read_text()), project)
    found: dict[str, set[str]] = {}

    def trace(kind: str, script: str, specification: Path, text: str) -> None:
        specification.parent.mkdir(parents=True, exist_ok=True)
        specification.write_text(text)
        words = ("-X", "importtime", f"workflow/scripts/{script}.py", str(specification))
        modules = re.findall(r"^import time:[^|]*\|[^|]*\| *(\S+)$", run("python", *words, at=project).stderr, re.M)
        assert "tessera.stages" in modules
        found.setdefault(kind, set()).update(HEAVY & set(modules))

    for job in plan.jobs.values():
        trace(kind_of(job), job.stage, resume_folder(job) / "job.json", job.model_dump_json())
    (summary,) = plan.studies.values()
    trace("summarize_study", "summarize_study", Path("resume/summary.json"), summary.model_dump_json())
    return found


def test_a_stage_imports_what_its_parts_need_and_no_more(imported: dict[str, set[str]]) -> None:
    assert imported.keys() == MAY.keys()
    assert {kind: names - MAY[kind] for kind, names in imported.items()} == {kind: set() for kind in MAY}
