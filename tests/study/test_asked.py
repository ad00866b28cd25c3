# ruff: noqa: E501 - a case a line
"""What a row or a column asks for is done by a job of each of its cells, or refused."""

from collections.abc import Callable
from typing import Any

import pytest

from tessera.errors import StudyError
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]

PROBES = {"also": None, "grid/columns": {"target.protocol": ["linear_probe", "classification"]}}
DROPPED: list[tuple[dict[str, Any], str]] = [
    ({"also": [{"label": "x", "transfer.method": "soft_targets", "target.protocol": "knn"}]}, r"\(row 'x', column 'label_fraction 0\.1'\): `transfer`: no job of this cell does what it asks for: protocol `knn` measures the source encoder itself, and trains no target network\. Leave it out, or set `target\.protocol` to `classification` or `detection`"),
    ({"also": [{"label": "x", "transfer": {"method": "fsp", "weight": 2.0}, "target.protocol": "knn"}]}, "`transfer`: no job"),
    ({**PROBES, "grid/rows": {"transfer.method": ["fsp"]}}, r"\(row 'fsp', column 'linear_probe'\): `transfer`: no job"),
    ({"base/target/protocol": "linear_probe", "also": None, "grid/columns": {"transfer.method": ["fsp"]}}, r"\(row 'equal', column 'fsp'\): `transfer`: no job"),
    ({**PROBES, "grid/rows": {"target.epochs": [3]}}, r"`target\.epochs`: no job .*`linear_probe` measures the source encoder"),
    ({**PROBES, "grid/rows": {"target.network.hidden": [32]}}, r"`target\.network\.hidden`: no job"),
    ({"also": [{"label": "x", "target.protocol": "clustering"}]}, r"`target\.label_fraction`: no job .*protocol `clustering` reads no labels"),
    ({"also": [{"label": "x", "target.protocol": "tsne"}]}, r"`target\.label_fraction`: no job .*protocol `tsne` reads no labels"),
    ({"also": [{"label": "x", "transfer.method": "none", "source.method": "tte"}]}, r"`source\.method`: no job .*transfer `none` reads no source"),
    ({"also": [{"label": "x", "transfer.method": "none", "source": {"batch_size": 8}}]}, r"`source\.batch_size`: no job"),
    ({"also": [{"label": "x", "source.method": "random", "source.optimizer.momentum": 0.5}]}, r"`source\.optimizer\.momentum`: no job .*the encoder is untrained"),
    ({"base/source/epochs": 0, "also": None}, r"`source\.method`: no job .*the encoder is untrained"),
    ({"also": [{"label": "x", "transfer.method": "fine_tune", "target.network": "reduced_alexnet"}]}, r"`target\.network`: no job .*transfer `fine_tune` builds the network"),
    ({"also": [{"label": "x", "transfer.method": "fsp", "target.budget": "total"}]}, r"`target\.budget`: no job .*transfer `fsp` has a first stage"),
    ({"also": [{"label": "x", "transfer.method": "soft_targets", "target.budget": "second_stage", "target.first_stage_epochs": 3}]}, r"`target\.first_stage_epochs`: no job .*has no first stage"),
    ({"also": [{"label": "x", "source.method": "supervised", "transfer.method": "source_only", "target.epochs": 3}]}, r"`target\.epochs`: no job .*transfer `source_only` trains nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), DROPPED, ids=[message[-40:] for _, message in DROPPED])
def test_what_no_job_does_is_refused(plan_of: PlanOf, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=r"config/studies/small\.yaml.*" + message):
        plan_of(changes)


DONE: list[dict[str, Any]] = [
    # A base is for the cells that use it.
    {"base/target/protocol": "linear_probe"},
    # Baselines, in columns that they say nothing to: the row, or the column, says by name that it is one.
    {"grid/columns": {"source.batch_size": [8, 16]}},
    {"grid/columns": {"source.iterations": [4, 8]}, "also": [{"label": "untrained", "source.method": "random"}]},
    {"grid/columns": {"target.at": [1, "last"]}, "base/source/snapshots": [1], "base/transfer": "fine_tune"},
    {"grid/columns": {"transfer.method": ["none", "fsp"]}, "also": None},
    {"also": [{"label": "bound", "source.method": "supervised", "transfer.method": "source_only"}]},
    # Of keys that are joined, one is enough.
    {"grid/columns": {"source.dataset+target.dataset": ["digits_m"]}, "base/source/dataset": None, "base/target/dataset": None},
    {**PROBES, "grid/rows": {"source.batch_size+target.batch_size": [8]}},
    # No transfer is what a measurement of the encoder does.
    {**PROBES, "grid/rows": {"transfer.method": ["none"]}},
    {"also": [{"label": "untrained", "source": {"method": "random", "tasks": [], "batch_size": 8}}]},
    {"also": [{"label": "both", "transfer.method": "soft_targets", "target.first_stage_epochs": 3}]},
]  # fmt: skip


@pytest.mark.parametrize("changes", DONE, ids=range(len(DONE)))
def test_what_some_job_does_is_planned(plan_of: PlanOf, changes: dict[str, Any]) -> None:
    assert plan_of(changes).jobs


def test_a_detector_from_scratch_reads_the_encoder_of_its_column(plan_of: PlanOf) -> None:
    target = {"dataset": "digits_scenes", "network": {"name": "ssd300", "image_size": 128}, "protocol": "detection"}
    encoders = {"source.encoder": ["resnet8", "resnet26"]}
    plan = plan_of({"base/target": target, "base/transfer": "none", "grid": {"columns": encoders}, "also": None})
    networks = [job.settings["network"] for job in plan.jobs.values() if job.stage == "transfer_knowledge"]
    assert {network["encoder"]["name"] for network in networks} == {"resnet8", "resnet26"}
