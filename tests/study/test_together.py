"""Which jobs one process makes: a model and what measures it, or what measures one encoder on one target."""

from typing import Any

import pytest

from tessera.jobs import Job
from tessera.study.together import together


def evaluation(protocol: str, source: str = "artifacts/source/a-1", trial: int = 0, **others: Any) -> Job:
    settings = {"protocol": {"name": protocol}, "label_fraction": 1.0}
    inputs = {"dataset": "artifacts/datasets/d-1", others.pop("role", "source"): source}
    job = Job(stage="evaluate_target", words=protocol, version=1, trial=trial, settings=settings, inputs=inputs)
    return job.model_copy(update={"run": job.run.model_copy(update=others)})


def test_those_that_read_the_same_features_stand_together_in_the_plan_s_order() -> None:
    probe, knn, third = (evaluation(name) for name in ("linear_probe", "knn", "own"))
    found = together([probe, knn, third])
    assert found.keys() == {probe.folder, knn.folder, third.folder}
    for one in found.values():
        assert (one.first, one.others) == (probe, (knn, third))


def test_studies_do_not_part_them() -> None:
    assert len(together([evaluation("linear_probe", studies=("a",)), evaluation("knn", studies=("b",))])) == 2


@pytest.mark.parametrize(
    "other",
    [
        evaluation("knn", source="artifacts/source/b-2"),
        evaluation("knn", trial=1),
        evaluation("knn", precision="float32"),
        evaluation("knn", role="network"),
        evaluation("knn").model_copy(update={"stage": "cluster_target"}),
    ],
)
def test_what_reads_anything_else_is_made_alone(other: Job) -> None:
    assert together([evaluation("linear_probe"), other]) == {}


def test_networks_are_measured_alone() -> None:
    """Every network has a protocol of its own, which reads no features."""
    assert together([evaluation("classification", role="network"), evaluation("other", role="network")]) == {}


def test_what_reads_one_snapshot_stands_together_whatever_the_plan_s_order() -> None:
    """So each is loaded once, and all protocols read its features in one pass."""
    source = pretraining()
    jobs = [
        evaluation(name, source=source.folder).model_copy(
            update={"settings": {"protocol": {"name": name}, **({} if at is None else {"at": at})}}
        )
        for name in ("linear_probe", "knn")
        for at in (2, 10, None)
    ]
    found = together([source, *jobs])[source.folder]
    order = [(job.settings.get("at"), job.settings["protocol"]["name"]) for job in found.others]
    assert order == [(at, name) for at in (2, 10, None) for name in ("linear_probe", "knn")]


def pretraining(trial: int = 0) -> Job:
    return Job(stage="pretrain_source", words="a", version=1, trial=trial, settings={"source": {}}, inputs={})


def test_an_encoder_is_measured_where_it_was_pretrained_whatever_the_target() -> None:
    source = pretraining()
    probe, knn = (evaluation(name, source=source.folder) for name in ("linear_probe", "knn"))
    elsewhere = evaluation("knn", source=source.folder).model_copy(
        update={"inputs": {"dataset": "artifacts/datasets/e-2", "source": source.folder}}
    )
    clusters = evaluation("clustering", source=source.folder).model_copy(update={"stage": "cluster_target"})
    found = together([source, probe, clusters, knn, elsewhere])
    assert found.keys() == {job.folder for job in (source, probe, knn, elsewhere)}
    for one in found.values():
        assert (one.first, one.others) == (source, (probe, knn, elsewhere))


def test_a_network_is_measured_where_it_was_trained() -> None:
    network = pretraining().model_copy(update={"stage": "transfer_knowledge"})
    measured = evaluation("classification", source=network.folder, role="network")
    found = together([network, measured])
    assert (found[measured.folder].first, found[network.folder].others) == (network, (measured,))


def test_what_runs_otherwise_than_its_maker_has_a_process_of_its_own() -> None:
    network = pretraining().model_copy(update={"stage": "transfer_knowledge"})
    network = network.model_copy(update={"run": network.run.model_copy(update={"gpus": 2})})
    assert together([network, evaluation("detection", source=network.folder, role="network")]) == {}
