# ruff: noqa: E501 - a case a line
"""Detection in a study: what goes together, what a job is told, and budgets of a protocol."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tessera.errors import StudyError
from tessera.jobs import Job, TransferKnowledge
from tessera.study.plan import Plan

PlanOf = Callable[..., Plan]
SCENES: dict[str, Any] = {
    "base/target": {"dataset": "digits_scenes", "network": {"name": "ssd300", "image_size": 128}, "protocol": "detection"},
    "base/transfer": {"method": "fine_tune"},
    "grid/columns": [{"label": "mAP"}],
}  # fmt: skip


def with_target(**changes: Any) -> dict[str, Any]:
    return {**SCENES, "base/target": {**SCENES["base/target"], **changes}}


def trained(plan: Plan) -> dict[str, Job]:
    """A job of transfer_knowledge by the method."""
    return {job.settings["transfer"]["name"]: job for job in plan.jobs.values() if job.stage == "transfer_knowledge"}


CASES: list[tuple[dict[str, Any], str]] = [
    (with_target(dataset="digits_m"), "`target`: protocol `detection` scores boxes, but dataset `digits_m` has none: set target.dataset to `digits_scenes`, `voc0712` or `voc_folder`"),
    (with_target(network="reduced_alexnet"), "`target`: protocol `detection` measures a network that detects, but `reduced_alexnet` does not: set target.network to `ssd300`"),
    ({**SCENES, "base/target": {"dataset": "digits_scenes", "protocol": "detection"}}, "but `reduced_alexnet` does not: set target.network to `ssd300`"),
    (with_target(protocol="classification"), "`target`: dataset `digits_scenes` has boxes, which protocol `classification` cannot score: set target.protocol to `detection`, or choose another target.dataset"),
    (with_target(protocol="knn"), "dataset `digits_scenes` has boxes, which protocol `knn` cannot score"),
    (with_target(dataset="digits_m", protocol="classification"), "`target`: network `ssd300` finds boxes, which protocol `classification` cannot score: set target.protocol to `detection`, or choose another target.network"),
    (with_target(label_fraction=0.5), "`target`: label_fraction is 0.5, but network `ssd300` learns from the boxes of all training images: leave it at 1"),
    ({**with_target(), "base/source/encoder": "segnet"}, "`target`: network `ssd300` reads ever smaller maps, but encoder `segnet` ends with large ones, which would learn nothing: choose another encoder"),
    (with_target(augmentation="crop_flip"), "augmentation `crop_flip` moves no boxes, so network `ssd300` cannot learn from it: use `ssd` or `none`"),
    ({"base/target/augmentation": "ssd"}, "augmentation `ssd` is made for boxes, so network `reduced_alexnet` cannot learn from it: use `crop_flip` or `none`"),
    (with_target(metric="accuracy"), "protocol `detection` has no metric `accuracy`. Known: map_voc07, map_area"),
    ({**SCENES, "base/transfer": {"method": "fsp"}}, "transfer `fsp` cannot train a network that detects, such as target.network `ssd300`: set transfer.method to `fine_tune` or `none`"),
    (with_target(network={"name": "ssd300", "encoder": "resnet26"}), r"transfer `fine_tune` copies source.encoder \(`resnet8`\) into target.network, but target.network.encoder is another \(`resnet26`, with its options\): leave it out"),
    (with_target(network={"name": "ssd300", "encoder": "resnet62"}), "`target.network.encoder`: Unknown encoder 'resnet62'. Did you mean 'resnet26'"),
    (with_target(network={"name": "ssd300", "encoder": {"name": "alexnet", "strid": 2}}), "`target.network.encoder.strid`: unknown key. Did you mean 'stride'"),
    ({"base/source/dataset": {"name": "digits_scenes", "image_size": 96}, "grid/rows": {"source.method": ["supervised"]}}, r"tasks\[0\]: classification learns the class of each image, but dataset `digits_scenes` has boxes instead"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), CASES, ids=[message[:60] for _, message in CASES])
def test_what_does_not_go_together_is_one_line(plan_of: PlanOf, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        plan_of(changes)
    assert all(line.startswith("config/studies/small.yaml") for line in str(caught.value).splitlines())
    assert len(str(caught.value).splitlines()) <= 3, "one for each row of another transfer"


def test_a_detector_gets_the_source_s_encoder_whether_it_is_taught_or_not(plan_of: PlanOf) -> None:
    jobs = trained(plan_of(SCENES))
    assert set(jobs) == {"fine_tune", "none"}
    for name, job in jobs.items():
        settings = TransferKnowledge.model_validate(job.settings)
        assert settings.network is not None
        assert settings.network.model_dump()["encoder"] == {"name": "resnet8"}
        assert settings.augmentation == "ssd"
        assert settings.trainer == "tessera.detection.job:train"
        assert ("source" in job.inputs) == (name == "fine_tune")
    assert jobs["fine_tune"].settings["network"] == jobs["none"].settings["network"]


def test_an_encoder_of_its_own_is_taken_where_nothing_is_copied(plan_of: PlanOf) -> None:
    own = {"name": "ssd300", "encoder": "resnet26"}
    changes = {**with_target(network=own), "base/transfer": {"method": "none"}, "also": [], "grid/rows": {}}
    assert trained(plan_of(changes))["none"].settings["network"]["encoder"] == {"name": "resnet26"}
    same = with_target(network={"name": "ssd300", "image_size": 128, "encoder": {"name": "resnet8"}})
    assert set(plan_of(same).jobs) == set(plan_of(SCENES).jobs), "named or not, it is the same encoder"


def test_images_with_boxes_are_a_source_like_any_other(plan_of: PlanOf) -> None:
    plan = plan_of({"base/source/dataset": {"name": "digits_scenes", "image_size": 96}})
    sources = {job.words for job in plan.jobs.values() if job.stage == "pretrain_source"}
    assert {words.partition(".")[0] for words in sources} == {"digits_scenes"}


def test_classifiers_are_trained_as_ever(plan_of: PlanOf) -> None:
    fine_tuned = trained(plan_of({"base/transfer": {"method": "fine_tune"}}))
    assert fine_tuned["fine_tune"].settings["network"] is None
    for job in fine_tuned.values():
        assert job.settings["augmentation"] == "crop_flip"
        assert TransferKnowledge.model_validate(job.settings).trainer == "tessera.transfer.job:train"
    assert set(plan_of().jobs) == set(plan_of({"base/target/augmentation": "crop_flip"}).jobs)


def test_detectors_have_one_stage_so_both_rows_get_the_same_epochs(plan_of: PlanOf) -> None:
    jobs = trained(plan_of(with_target(epochs=7, first_stage_epochs=3)))
    assert {(job.settings["epochs"], job.settings["first_stage_epochs"]) for job in jobs.values()} == {(7, 0)}


def test_detectors_trainings_alone_take_several_gpus(plan_of: PlanOf) -> None:
    one, several = plan_of(SCENES), plan_of(SCENES, gpus=4)
    assert {job.stage for job in several.jobs.values() if job.run.gpus == 4} == {"transfer_knowledge"}
    assert {job.run.gpus for job in trained(several).values()} == {4}
    assert set(one.jobs) == set(several.jobs), "how many compute is no part of a key"
    assert {job.run.gpus for job in plan_of(gpus=4).jobs.values()} == {1}


def test_each_figure_of_a_protocol_may_be_a_column_of_its_own(plan_of: PlanOf) -> None:
    plan = plan_of({**SCENES, "grid/columns": {"target.metric": ["map_voc07", "map_area"]}})
    assert set(plan.jobs) == set(plan_of(SCENES).jobs)
    assert [cell.metric for cell in plan.studies["small"].cells[:2]] == ["map_voc07", "map_area"]


def test_strict_plans_data_that_refuse_what_is_damaged_in_every_process(plan_of: PlanOf, project: Path) -> None:
    (project / "data").mkdir()
    tarfile.open(project / "data/cells.tar", "w").close()
    cells = with_target(dataset={"name": "voc_folder", "path": "cells.tar"})
    lenient, strict = plan_of(cells), plan_of(cells, strict=True)

    def damaged(plan: Plan) -> set[str]:
        datasets = [job.settings["dataset"] for job in plan.jobs.values() if job.stage == "prepare_dataset"]
        return {dataset["damaged"] for dataset in datasets if dataset["name"] == "voc_folder"}

    assert (damaged(lenient), damaged(strict)) == ({"skip"}, {"refuse"})
    shared = {folder.split("/")[1] for folder in set(lenient.jobs) & set(strict.jobs)}
    assert {"source", "pretext"} <= shared, "what has nothing to pass over keeps its key"
    assert not shared & {"transfer", "target"}


# Budgets of a protocol.


def write_scale(project: Path, text: str) -> None:
    scale = project / "config/scales/smoke.yaml"
    content = yaml.safe_load(scale.read_text())
    content.pop("protocols", None)
    scale.write_text(yaml.safe_dump(content) + text)


def test_a_protocol_s_budget_lies_over_the_scale_s_and_beneath_the_study_s(plan_of: PlanOf, project: Path) -> None:
    write_scale(project, "protocols: {detection: {epochs: 5, iterations: 6, optimizer: {momentum: 0.5}}}\n")
    settings = trained(plan_of(with_target(epochs=2)))["none"].settings
    assert (settings["epochs"], settings["iterations"], settings["batch_size"]) == (2, 6, 16)
    optimizer = settings["optimizer"]
    assert (optimizer["momentum"], optimizer["learning_rate"], optimizer["schedule"]) == (0.5, 0.05, "cosine")
    assert trained(plan_of())["none"].settings["iterations"] == 8, "cells of other protocols keep theirs"


def test_a_column_that_names_the_protocol_gets_its_budget(plan_of: PlanOf, project: Path) -> None:
    write_scale(project, "protocols: {classification: {iterations: 5}, knn: {iterations: 7}}\n")
    plan = plan_of({"base/target/protocol": None, "base/target/label_fraction": 1.0, "grid/columns": {"target.protocol": ["classification", "knn"]}})  # fmt: skip
    assert {job.settings["iterations"] for job in trained(plan).values()} == {5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{detecton: {epochs: 1}}", r"`protocols`: Unknown protocol 'detecton'\. Did you mean 'detection'"),
        ("{detection: {epoch: 1}}", r"`protocols\.detection\.epoch`: unknown key\. Did you mean 'epochs'"),
        ("{detection: {protocol: knn}}", r"`protocols\.detection\.protocol`: unknown key"),
        ("{detection: 3}", r"`protocols\.detection`: should be a valid dictionary"),
        ("{detection: {epochs: 0}}", r"`target\.epochs`: should be greater than or equal to 1, but is 0"),
        ("{detection: {optimizer: {lr: 1}}}", r"`target\.optimizer\.lr`: unknown key"),
    ],
)
def test_a_protocol_s_budget_is_checked_where_it_is_written(
    plan_of: PlanOf, project: Path, text: str, message: str
) -> None:
    write_scale(project, f"protocols: {text}\n")
    with pytest.raises(StudyError, match=r"^config/scales/smoke\.yaml: " + message):
        plan_of(SCENES)
