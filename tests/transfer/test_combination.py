"""Several transfers in one training."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tessera import registry
from tessera.data.store import Dataset
from tessera.models.networks.reduced_alexnet import ReducedAlexNet
from tessera.parts import PartOf
from tessera.training.compute import Compute
from tessera.transfer.combination import Combination
from tessera.transfer.images import TargetImages, Views
from tessera.transfer.options.combination import CombinationOptions
from tessera.transfer.seen import see
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network
from transfer_losses import loss_of

SOFT = {"method": "soft_targets", "probe_epochs": 3, "probe_hidden": [16], "weight": 0.4}
JOINT = {"method": "fsp", "mode": "joint"}


def parsed(of: Any) -> Any:
    return PartOf("transfer").parse(of)


def views_of(images: TargetImages) -> tuple[Views, Tensor]:
    pixels = images.dataset.test.images[:].float() / 255
    return Views(pixels, images.normalize(pixels)), images.dataset.test.labels


def test_a_list_is_a_combination_and_a_list_of_one_is_that_one() -> None:
    both = parsed([JOINT, "soft_targets"])
    assert isinstance(both, CombinationOptions)
    assert [member.name for member in both.of] == ["fsp", "soft_targets"]
    assert both.word() == "fsp-soft_targets"
    assert parsed([SOFT]) == parsed(SOFT)


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ([], "lists 0 methods: name one, or list two or more"),
        (["none", "fsp"], "`none` is no term that could stand beside others"),
        (["source_only", "fsp"], "`source_only` is no term"),
        ([["fsp", "cetl"], "soft_targets"], "lists a list within a list: write all methods in one"),
        (["fsp", {"method": "fsp", "pairs": "within_stage"}], "each of `fsp` and `fsp` has a first stage of its own"),
        (["fine_tune", "lwf"], "each of `fine_tune` and `lwf` builds the network"),
        (["rkd", "attention", "attention"], "lists `attention` twice, with the same options: leave one out"),
        (["rkd", {"method": "rkd", "angle": 50}], "lists `rkd` twice, with the same options"),
    ],
)
def test_what_does_not_go_together_is_refused(of: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        parsed(of)


def test_terms_are_added_and_weights_of_the_labels_multiplied(
    network: ReducedAlexNet, teacher: Teacher, images: TargetImages, compute: Compute
) -> None:
    views, labels = views_of(images)
    found = []
    for of in ([JOINT, SOFT], JOINT, SOFT):
        options = parsed(of)
        torch.manual_seed(4)
        method = registry.load("transfer", options.name)(options)
        figures = method.fit_teacher(network.eval(), teacher, images, compute, trial=0)
        seen = see(views, labels, torch.arange(len(labels)), network, teacher, method.reads)
        found.append((method.label_weight, method.term(seen, network), figures))
        hard = torch.nn.functional.cross_entropy(seen.logits, labels)
        loss, _ = loss_of(method, views, labels, network, teacher)
        torch.testing.assert_close(loss, method.label_weight * hard + found[-1][1])
    both, joint, soft = found
    assert both[0] == pytest.approx(0.6)
    torch.testing.assert_close(both[1], joint[1] + soft[1])  # the same adapters and the same probe as alone
    assert both[2] == {f"soft_targets.{name}": value for name, value in soft[2].items()}


def test_each_network_runs_once_a_step_whatever_number_of_terms_reads_it(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {"student": 0, "teacher": 0}
    ours, theirs = ReducedAlexNet.maps, Teacher.maps

    def student(self: Any, *given: Any) -> Any:
        runs["student"] += self.training
        return ours(self, *given)

    def of_teacher(self: Any, *given: Any) -> Any:
        runs["teacher"] += 1
        return theirs(self, *given)

    asked = settings({"name": "combination", "of": [JOINT, {**JOINT, "pairs": "within_stage"}, SOFT]})

    def fit(self: Any, *given: Any) -> Any:
        found = fitted(self, *given)
        runs.update(student=0, teacher=0)  # what comes before the first step is not counted
        return found

    fitted = Combination.fit_teacher
    monkeypatch.setattr(Combination, "fit_teacher", fit)
    monkeypatch.setattr(ReducedAlexNet, "maps", student)
    monkeypatch.setattr(Teacher, "maps", of_teacher)
    trained = train_network(asked, teacher, dataset, compute, trial=0, resume=None)
    steps = len(trained.history) * asked.iterations
    assert runs == {"student": steps, "teacher": steps}


def test_a_method_begins_every_epoch_as_if_it_were_alone(
    settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    options = {"fisher_batches": 1, "width": 8, "weight": 0.0}
    cetl = {"method": "cetl", **options}
    alone, both = (
        train_network(settings(of), teacher, dataset, compute, trial=0, resume=None)
        for of in ({"name": "cetl", **options}, {"name": "combination", "of": [cetl, {**cetl, "refresh": "start"}]})
    )
    one = [{name: value for name, value in row.items() if name.startswith("weight_")} for row in alone.history]
    for first, row in zip(one[:1], both.history[:1], strict=True):
        for name, value in first.items():
            assert row[f"cetl.{name}"] == row[f"cetl2.{name}"] == value
