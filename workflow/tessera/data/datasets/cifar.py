"""CIFAR-10, CIFAR-100 and C10s, the paper's share of CIFAR-10."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from tessera.data.datasets.base import DatasetReader, RawDataset
from tessera.data.datasets.downloads import open_or_download
from tessera.data.datasets.hierarchies import HIERARCHIES
from tessera.data.datasets.levels import columns_above
from tessera.data.resize import resized
from tessera.data.store import label_subset


class Cifar10(DatasetReader):
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes.

    Source: Krizhevsky, technical report, 2009. Files of torchvision, whose checksums are compared before anything
    is unpickled.

    Shape:
        images: (60000, S, S, 3) uint8, the training images first; S is `image_size`, at 32 the images as they are.
    """

    dataset = "CIFAR10"

    def read(self, data_root: Path) -> RawDataset:
        raw = self._read(data_root)
        return replace(raw, images=resized(raw.images, self.options.image_size))

    def _read(self, data_root: Path) -> RawDataset:
        cls: Any = getattr(torchvision.datasets, self.dataset)
        train, test = (open_or_download(cls, data_root, train=train) for train in (True, False))
        numbers = np.arange(len(train) + len(test))
        return RawDataset(
            np.concatenate([train.data, test.data]),
            np.array(train.targets + test.targets, dtype=np.int64),
            {"train": numbers[: len(train)], "test": numbers[len(train) :]},
            list(train.classes),
        )


class Cifar100(Cifar10):
    """CIFAR-100: 50,000 training and 10,000 test images of 100 (fine) classes; 20, 10 and 3 lie above them.

    Source: Krizhevsky, technical report, 2009; the 10 and 3 classes: docs/methods.md.

    Shape:
        images: (60000, S, S, 3) uint8, the training images first.
    """

    dataset = "CIFAR100"

    def _read(self, data_root: Path) -> RawDataset:
        raw = super()._read(data_root)
        columns = columns_above(HIERARCHIES["cifar100"], raw.labels, raw.classes, self.options.word())
        return replace(raw, columns=columns)


class C10s(Cifar10):
    """C10s: a fifth of CIFAR-10, 10,000 training and 2,000 test images.

    Source: the paper, section 4.1 and Table 1: a random 20 % of CIFAR-10, 12,000 images. We draw the same
    share of each class of each split, by a seed that is the dataset's own, so that all trials see the same images.

    Shape:
        images: (12000, S, S, 3) uint8 at the default fraction, the training images first.
    """

    def _read(self, data_root: Path) -> RawDataset:
        whole = super()._read(data_root)
        generator = torch.Generator().manual_seed(self.options.seed)
        chosen = {}
        for split in ("train", "test"):
            rows = whole.splits[split]
            if split == "train" or self.options.test == "sampled":
                labels = torch.from_numpy(whole.labels[rows])
                rows = rows[label_subset(labels, self.options.fraction, generator).numpy()]
            chosen[split] = rows
        every = np.concatenate([chosen["train"], chosen["test"]])
        numbers = np.arange(len(every))
        splits = {"train": numbers[: len(chosen["train"])], "test": numbers[len(chosen["train"]) :]}
        return RawDataset(whole.images[every], whole.labels[every], splits, whole.classes)
