"""What holds for every entry of the family's table."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tessera import registry
from tessera.data.store import Dataset
from tessera.errors import StudyError
from tessera.models.networks.build import build_network
from tessera.models.store import load_network, save_network
from tessera.models.trained import Trained
from tessera.training.checkpoint import Checkpoint
from tessera.training.compute import Compute
from tessera.transfer import train
from tessera.transfer.images import TargetImages
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network

TRAINING = sorted(name for name, part in registry.parts("transfer").items() if part.options.trains)  # type: ignore[attr-defined]
SAME = {"name": "classifier", "encoder": "resnet8", "hidden": [6]}  # as the teacher, with a layer more
OTHER = {"name": "classifier", "encoder": {"name": "vgg16", "width": "quarter"}}
COMBINED = {"name": "combination", "of": ["fine_tune", "fsp", {"method": "soft_targets", "teacher": "source"}]}
# In all but their loss as `attention` or `rkd`, which are tried with each change.
ALIKE = ("nst", "similarity", "correlation", "pkt")
TERMS = (*ALIKE, "attention", "fitnet", "vid", "jacobian", "rkd", "crd")


def cases(names: Iterable[str], rare: Sequence[str]) -> list[Any]:
    """Names, those that are rare to be tried with `--runslow` alone."""
    return [pytest.param(name, marks=pytest.mark.slow if name in rare else ()) for name in names]


def variants(rare: Sequence[str], **more: Any) -> list[Any]:
    """Every method, with more options."""
    names = sorted(registry.parts("transfer"))
    return [pytest.param({"name": name, **more}, marks=pytest.mark.slow if name in rare else ()) for name in names]


VARIANTS: list[Any] = [
    *variants(ALIKE),
    {"name": "soft_targets", "teacher": "clusters"},
    {"name": "fsp", "pairs": "within_stage"},
    {"name": "fsp", "align": "channel_group"},
    {"name": "fsp", "align": "student_conv1x1", "images": "labeled"},
    {"name": "fsp", "mode": "joint"},
    {"name": "cetl", "refresh": "start", "image_px": 8},
    {"name": "fine_tune", "freeze_layers": 2, "lr_factor": 1.0},
    {"name": "soft_targets", "teacher": "source"},
    *(
        pytest.param(variant, marks=pytest.mark.slow)
        for variant in (
            {"name": "fitnet", "mode": "two_stage"},
            {"name": "vid", "places": "both"},
            {"name": "vid", "places": "penultimate"},
            {"name": "jacobian", "of": "logit"},
            {"name": "crd", "mode": "other_classes"},
            {"name": "attention", "layers": [["pool1", "stem"], ["conv3", "stage1.first"]]},
        )
    ),
    COMBINED,
    *variants(TERMS, network=SAME),
    pytest.param({"name": "fsp", "pairs": "within_stage", "network": OTHER}, marks=pytest.mark.slow),
    pytest.param({"name": "cetl", "network": OTHER}, marks=pytest.mark.slow),
]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join(map(str, variant.values())))
def variant(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


Whole = Callable[[dict[str, Any]], Trained]


@pytest.fixture(scope="module")
def trained() -> dict[str, Trained]:
    return {}


@pytest.fixture
def whole(trained: dict[str, Trained], settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute) -> Whole:
    """An undisturbed training of trial 0: made once, and compared with again and again."""

    def make(variant: dict[str, Any]) -> Trained:
        if str(variant) not in trained:
            source = given(variant, teacher)
            trained[str(variant)] = train_network(settings(variant), source, dataset, compute, trial=0, resume=None)
        return trained[str(variant)]

    return make


def digest(trained: Trained) -> str:
    state = trained.network.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(state))).hexdigest()


def given(variant: dict[str, Any], teacher: Teacher) -> Teacher | None:
    options: Any = registry.find("transfer", variant["name"]).options
    return teacher if options.needs_source else None


def test_training_repeats_moves_the_student_and_leaves_the_teacher(
    variant: dict[str, Any], settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute, tmp_path: Path,
    whole: Whole,
) -> None:  # fmt: skip
    before = {name: tensor.clone() for name, tensor in teacher.encoder.state_dict().items()}

    def train(trial: int) -> Trained:
        return train_network(settings(variant), given(variant, teacher), dataset, compute, trial=trial, resume=None)

    trained, trains = train(0), variant["name"] in TRAINING
    assert digest(trained) == digest(whole(variant))
    if variant.keys() == {"name"}:
        assert (digest(trained) != digest(train(1))) is trains
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.encoder.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in teacher.encoder.parameters())
    assert not teacher.encoder.training

    two_stage = settings(variant).transfer.two_stage
    assert [(row["stage"], row["epoch"]) for row in trained.history] == [
        *([("first", 1), ("first", 2)] if two_stage else []),
        *([("second", 1), ("second", 2)] if trains else []),
    ]
    assert all(0 < row["loss"] < 1000 for row in trained.history)
    assert ("train_accuracy" in trained.metrics) is trains
    assert 0 <= trained.metrics.get("train_accuracy", 0) <= 100
    assert not trained.network.training
    save_network(trained.network, trained.about, tmp_path)
    stored = load_network(tmp_path, compute.device)
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(stored.network(images), trained.network(images))
    assert stored.normalization == (dataset.normalization if trains else teacher.normalization)


class KilledError(Exception):
    pass


KILLS: list[Any] = [
    *(pytest.param(1, {"name": name}, marks=pytest.mark.slow if name in ALIKE else ()) for name in TRAINING),
    (2, {"name": "fsp"}),
    (3, {"name": "fsp"}),
    (1, {"name": "cetl", "refresh": "start"}),
    pytest.param(1, {"name": "fitnet", "mode": "two_stage"}, marks=pytest.mark.slow),
    (3, {"name": "fitnet", "mode": "two_stage"}),
    pytest.param(1, {"name": "crd", "mode": "other_classes"}, marks=pytest.mark.slow),
    (1, {"name": "fine_tune", "network": SAME}),
    (3, {"name": "fsp", "network": SAME}),
    (1, COMBINED),
    (3, COMBINED),
    (3, {"name": "fsp", "optimizer": {"kind": "adam", "learning_rate": 0.001}}),
]


@pytest.mark.parametrize(("epochs_before_kill", "variant"), KILLS, ids=str)
def test_a_killed_training_goes_on_to_the_same_bytes(
    epochs_before_kill: int,
    variant: dict[str, Any],
    settings: Any,
    dataset: Dataset,
    teacher: Teacher,
    compute: Compute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: Whole,
) -> None:
    asked, undisturbed = settings(variant), whole(variant)

    class Mortal(Checkpoint):
        saved = 0

        def save(self, state: Mapping[str, Any], reached: str = "") -> None:
            super().save(state, reached)
            self.saved += 1
            if self.saved == epochs_before_kill:
                raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(train, "Checkpoint", Mortal)
        with pytest.raises(KilledError):
            train_network(asked, given(variant, teacher), dataset, compute, trial=0, resume=tmp_path)
    torch.manual_seed(99)  # another process has another state
    resumed = train_network(asked, given(variant, teacher), dataset, compute, trial=0, resume=tmp_path)
    assert digest(resumed) == digest(undisturbed)
    assert resumed.metrics == undisturbed.metrics
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in undisturbed.history]


def test_every_parameter_of_the_student_learns(
    variant: dict[str, Any], settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    trained, start = (
        train_network(
            settings(variant, epochs=1, first_stage_epochs=1, optimizer={"learning_rate": rate, "weight_decay": 0.0}),
            given(variant, teacher), dataset, compute, trial=0, resume=None,
        )
        for rate in (0.05, 1e-30)
    )  # fmt: skip
    still = {
        name
        for (name, a), b in zip(trained.network.named_parameters(), start.network.parameters(), strict=True)
        if torch.equal(a, b)
    }
    assert still == {name for name, p in trained.network.named_parameters() if not p.requires_grad}


def test_a_method_that_needs_a_source_says_so(
    variant: dict[str, Any], settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    if given(variant, teacher) is None:
        pytest.skip("needs none")
    with pytest.raises(StudyError, match=rf"transfer `{variant['name']}` needs a source encoder"):
        train_network(settings(variant), None, dataset, compute, trial=0, resume=None)


@pytest.mark.parametrize("name", cases(TRAINING, ALIKE))
def test_bfloat16_stays_finite_and_near(
    name: str, settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    asked, source = settings(name, epochs=1, first_stage_epochs=1), given({"name": name}, teacher)
    half = Compute(torch.device("cpu"), "bfloat16")
    losses = [
        train_network(asked, source, dataset, kind, trial=0, resume=None).history[0]["loss"] for kind in (compute, half)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_what_says_that_it_reads_features_alone_reads_no_maps(
    variant: dict[str, Any], settings: Any, dataset: Dataset, teacher: Teacher, compute: Compute
) -> None:
    asked = settings(variant).transfer
    if given(variant, teacher) is None or not asked.trains:
        pytest.skip("asks no teacher while it trains")
    method = registry.load("transfer", asked.name)(asked)
    given_network = None if settings(variant).network is None else build_network(settings(variant).network, 3, 16)
    network = method.build_network(given_network, teacher, 3)
    images = TargetImages(dataset, torch.arange(len(dataset.train)), None, lambda p: (p - 0.5) / 0.25)
    method.fit_teacher(network, teacher, images, compute, trial=0)
    if asked.reads_features:
        assert method.reads.features
        assert not method.reads.teacher
