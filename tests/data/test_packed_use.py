"""Whoever reads images reads packed ones alike: features, clusters, training batches, colour priors."""

import numpy as np
import pytest
import torch
from PIL import Image

from tessera import registry
from tessera.data.datasets.options.image_folder import ImageFolderOptions
from tessera.data.packed import PackedImages
from tessera.data.prepare import prepare_dataset
from tessera.data.store import Dataset, Split, load_dataset
from tessera.models.encoders.base import Encoder
from tessera.multitask.feeds import Feed
from tessera.multitask.learner import Learner
from tessera.multitask.source import Source
from tessera.multitask.validation import validate
from tessera.protocols.base import Measured
from tessera.protocols.features import extract_features, predict
from tessera.tasks.base import ImageStatistics
from tessera.training.compute import Compute

CPU = torch.device("cpu")
SOURCE = {
    "dataset": {"name": "digits_m"},
    "encoder": {"name": "resnet8"},
    "tasks": [{"name": "reconstruction"}, {"name": "classification"}],
    "batch_size": 8,
    "epochs": 1,
    "iterations": 2,
    "statistics_batches": 2,
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """The same images, packed and as a tensor."""
    root = tmp_path_factory.mktemp("use")
    random = np.random.default_rng(0)
    for row in range(48):
        file = root / "tree" / ("train" if row < 32 else "test") / "ab"[row % 2] / f"{row:02}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        coarse.resize((40, 36), Image.Resampling.BICUBIC).save(file, "jpeg")
    found = []
    for packed in (True, False):
        folder = root / f"packed {packed}"
        folder.mkdir()
        options = ImageFolderOptions(path="tree", image_size=32, packed=packed)
        prepare_dataset(options, root, folder, shard_bytes=9000)
        found.append(load_dataset(folder, CPU))
    return found[0], found[1]


def encoder() -> Encoder:
    torch.manual_seed(0)
    options = registry.find("encoder", "resnet8").options(name="resnet8")
    made: Encoder = registry.load("encoder", "resnet8")(options)
    return made


def test_features_and_outputs(both: tuple[Dataset, Dataset]) -> None:
    compute, network = Compute(CPU, "float32"), encoder()
    one, other = (
        extract_features(network, data.train.images, data.normalization, compute, batch_size=10) for data in both
    )
    assert torch.equal(one, other)
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    one, other = (predict(flat, data.test.images, data.normalization, compute, batch_size=7) for data in both)
    assert torch.equal(one, other)


@pytest.mark.parametrize("train_encoder", [False, True])
def test_clusters(both: tuple[Dataset, Dataset], train_encoder: bool) -> None:
    options = registry.find("protocol", "clustering").options(
        name="clustering", iterations=4, update_interval=2, batch_size=8, train_encoder=train_encoder, restarts=2
    )
    found = []
    for data in both:
        protocol = registry.load("protocol", "clustering")(options)
        result = protocol.evaluate(
            Measured(encoder(), data.normalization), data, data.train, Compute(CPU, "float32"), 0
        )
        found.append(result)
    assert found[0].metrics == found[1].metrics
    assert np.array_equal(found[0].arrays["embedding"], found[1].arrays["embedding"])


def test_what_tasks_prepare(both: tuple[Dataset, Dataset]) -> None:
    cls = registry.load("task", "colorization")
    options = registry.find("task", "colorization").options(name="colorization").at(32)  # type: ignore[attr-defined]
    one, other = (cls.prepare(options, 32, data, torch.Generator().manual_seed(0)) for data in both)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_batches_and_held_out_figures(both: tuple[Dataset, Dataset]) -> None:
    source = Source.model_validate(SOURCE)
    learners = [Learner(source, data, {}, Compute(CPU, "float32"), 0) for data in both]
    packed, plain = learners
    assert isinstance(packed.split.images, PackedImages)
    assert isinstance(packed.held_out.images, torch.Tensor)  # decoded once
    for name in packed.names:
        task = packed.tasks[name]
        assert task.statistics == ImageStatistics.of(both[1], packed.held_out_batch)
        feeds = [Feed(task, learner.splits[name], 8, 3, 0, 0, name, show=lambda images: images) for learner in learners]
        for one, other in zip(*feeds, strict=True):
            assert torch.equal(one.inputs, other.inputs)
        assert validate(packed, [name]) == validate(plain, [name])
    for one, other in zip(packed.plain_batches(), plain.plain_batches(), strict=True):
        assert torch.equal(one, other)


def test_source_split_of_packed_images(both: tuple[Dataset, Dataset]) -> None:
    one, other = (
        Dataset(d.classes, 32, *d.normalization, {"train": d.train, "test": d.test, "unlabeled": d.test}) for d in both
    )
    joined = one.source_split()
    assert isinstance(joined.images, PackedImages)
    assert torch.equal(joined.images[:], other.source_split().images[:])
    assert torch.equal(joined.labels, other.source_split().labels)
    assert isinstance(joined, Split)
