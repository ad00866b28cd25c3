"""Several protocols on one encoder: features are extracted once, and every bit is as in a process of its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tessera import registry
from tessera.data.columns import RawColumn
from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, save_dataset
from tessera.errors import StudyError
from tessera.models.encoders.base import Encoder
from tessera.models.store import save_encoder
from tessera.protocols import features as features_page
from tessera.protocols.base import Evaluation, Measured, Protocol
from tessera.protocols.features import Features, Read
from tessera.protocols.session import Session
from tessera.registry import Options
from tessera.training.compute import Compute
from tessera.training.randomness import seed_of

NORMALIZATION = Normalization((0.5, 0.5, 0.5), (0.3, 0.3, 0.3))


class Drawing(Protocol):
    """A user's own protocol that draws from torch's generator, which a job seeds."""

    class Options(Options):
        """None."""

    def evaluate(self, *_: Any, **__: Any) -> Evaluation:
        return Evaluation({}, {"drawn": torch.rand(5).numpy()})


def options(name: str, **settings: Any) -> Options:
    return registry.find("protocol", name).options(name=name, **settings)


def several() -> list[Options]:
    probe, knn = "linear_probe", "knn"
    return [
        options(f"{__name__}:Drawing"),
        *(options(probe), options(knn), options(probe, layer="stem"), options(knn, layer="stem", neighbors=3)),
        *(options(probe, layer="stem", pool_px=2), options(probe, pool_px=2), options(f"{__name__}:Drawing")),
    ]


@pytest.fixture
def inputs(tmp_path: Path, encoder: Encoder) -> dict[str, Path]:
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = (draw.uniform(0, 200, (3, 8, 8, 3))[labels] + draw.uniform(0, 55, (60, 8, 8, 3))).astype(np.uint8)
    folders = {name: tmp_path / name for name in ("dataset", "source")}
    for folder in folders.values():
        folder.mkdir()
    splits = {"train": np.arange(40), "test": np.arange(40, 60)}
    save_dataset(folders["dataset"], images, np.where(np.arange(60) > 57, -1, labels), splits, ["a", "b", "c"])
    save_encoder(encoder, registry.find("encoder", "resnet8").options(name="resnet8"), NORMALIZATION, folders["source"])
    return folders


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[Read]]]:
    """Every pass over images: how many, and what was read of them."""
    seen, original = list[tuple[int, list[Read]]](), features_page.extract_layers

    def counting(encoder: Any, images: Any, *others: Any, **more: Any) -> list[Tensor]:
        seen.append((len(images), list(others[2])))
        return original(encoder, images, *others, **more)

    monkeypatch.setattr(features_page, "extract_layers", counting)
    return seen


def of_a_process(inputs: dict[str, Path], tmp_path: Path, parts: Sequence[Options]) -> list[Evaluation]:
    session, found = None, []
    for part in parts:
        torch.manual_seed(seed_of(0, "evaluate_target"))  # as `StageJob.compute` does for each job
        compute = Compute(torch.device("cpu"), "float32")
        session = session or Session(inputs, 0, compute, parts)
        found.append(session.by(part, 0.5, compute, tmp_path))
    return found


def test_every_bit_is_as_in_a_process_of_its_own(inputs: dict[str, Path], tmp_path: Path) -> None:
    for part, found in zip(several(), of_a_process(inputs, tmp_path, several()), strict=True):
        (alone,) = of_a_process(inputs, tmp_path, [part])
        assert found.metrics == alone.metrics, part
        assert {name: array.tobytes() for name, array in found.arrays.items()} == {
            name: array.tobytes() for name, array in alone.arrays.items()
        }, part


def test_small_features_are_read_in_one_pass_of_each_split(
    inputs: dict[str, Path], tmp_path: Path, passes: list[tuple[int, list[Read]]]
) -> None:
    of_a_process(inputs, tmp_path, several())
    small = [(None, 1), ("stem", 1)]
    one_by_one = [[("stem", 2)], [("stem", 2)], [(None, 2)], [(None, 2)]]
    assert [reads for _, reads in passes] == [small, small, *one_by_one]
    assert [number for number, _ in passes] == [19, 18] * 3  # half of each class, and the test images with a label


def test_the_columns_of_a_dataset_share_features_and_not_labels(
    inputs: dict[str, Path], tmp_path: Path, passes: list[tuple[int, list[Read]]], encoder: Encoder
) -> None:
    images, labels = np.load(inputs["dataset"] / "images.npy"), np.arange(60) % 3
    splits, other = {"train": np.arange(40), "test": np.arange(40, 60)}, np.arange(60) // 2 % 2
    for name, of, columns in (("both", labels, {"side": RawColumn(other, ["x", "y"])}), ("alone", other, {})):
        (tmp_path / name).mkdir()
        save_dataset(tmp_path / name, images, of, splits, ["a", "b", "c"] if columns else ["x", "y"], columns)
    compute, part = Compute(torch.device("cpu"), "float32"), options("knn", neighbors=3)
    session = Session(inputs | {"dataset": tmp_path / "both"}, 0, compute, [part])
    plain, side = (session.by(part, 1.0, compute, tmp_path, labels=column) for column in (None, "side"))
    assert len(passes) == 2  # one a split
    alone = Session(inputs | {"dataset": tmp_path / "alone"}, 0, compute, [part]).by(part, 1.0, compute, tmp_path)
    assert side.metrics == alone.metrics
    assert np.array_equal(side.arrays["predictions"], alone.arrays["predictions"])
    assert np.array_equal(side.arrays["labels"], other[40:])
    assert np.array_equal(plain.arrays["labels"], labels[40:])
    # A share of the labels is drawn within the column.
    few = session.by(options("knn", neighbors=1), 0.01, compute, tmp_path, labels="side")
    assert passes[-1][0] == 2  # one image of each of its two classes
    assert len(few.arrays["labels"]) == 20


def test_a_layer_that_is_not_there_is_told_to_its_own_protocol(inputs: dict[str, Path], tmp_path: Path) -> None:
    parts = [options("knn"), options("knn", layer="tail")]
    compute = Compute(torch.device("cpu"), "float32")
    session = Session(inputs, 0, compute, parts)
    assert session.by(parts[0], 1.0, compute, tmp_path).metrics
    with pytest.raises(StudyError, match="no layer 'tail'"):
        session.by(parts[1], 1.0, compute, tmp_path)


def test_large_features_are_kept_no_longer_than_they_are_read(
    encoder: Encoder, dataset: Dataset, compute: Compute, passes: list[tuple[int, list[Read]]]
) -> None:
    features = Features(encoder, NORMALIZATION, compute)
    train, test = features.labeled(dataset.train, "the train split"), features.labeled(dataset.test, "the test split")
    assert features.labeled(dataset.train, "the train split") is train
    first = features.read(train, "stem", 2)
    features.read(test, "stem", 2)
    assert features.read(train, "stem", 2) is first
    assert len(passes) == 2
    features.read(train, None, 2)
    assert torch.equal(features.read(train, "stem", 2), first)
    assert len(passes) == 4


def test_features_of_another_model_are_not_taken(encoder: Encoder, dataset: Dataset, compute: Compute) -> None:
    part = options("knn")
    protocol: Protocol = registry.load("protocol", "knn")(part)
    protocol.shared = Features(encoder, NORMALIZATION, compute)
    other: Any = object()
    assert protocol.features(Measured(encoder, NORMALIZATION), compute) is protocol.shared
    assert protocol.features(Measured(other, NORMALIZATION), compute) is not protocol.shared
