"""STL-10."""

from pathlib import Path
from typing import Any

import numpy as np
import torchvision

from tessera.data.datasets.base import DatasetReader, RawDataset
from tessera.data.datasets.downloads import open_or_download
from tessera.data.resize import resize_into

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


class Stl10(DatasetReader):
    """STL-10: 5,000 training and 8,000 test images of 10 classes, and 100,000 without labels if asked for.

    Source: Coates, Ng & Lee, AISTATS 2011. Files of torchvision, which asks for the unlabelled ones (2.8 GB) in any
    case; we do so only where `unlabeled` is set.

    Shape:
        images: (13000 or 113000, S, S, 3) uint8: training, test, unlabelled; S is `image_size`, at 96 the images as
            they are.
    """

    def read(self, data_root: Path) -> RawDataset:
        cls: Any = torchvision.datasets.STL10
        if not self.options.unlabeled:
            cls = type("LabelledStl10", (cls,), {"train_list": cls.train_list[:2]})
        names = ["train", "test", *(["unlabeled"] if self.options.unlabeled else [])]
        parts = {split: open_or_download(cls, data_root, split=split) for split in names}
        number = sum(len(part) for part in parts.values())
        images = np.empty((number, self.options.image_size, self.options.image_size, 3), dtype=np.uint8)
        labels = np.empty(number, dtype=np.int64)
        splits, start = {}, 0
        for split, part in parts.items():
            rows = np.arange(start, start + len(part))
            resize_into(images[start : start + len(part)], part.data.transpose(0, 2, 3, 1))
            labels[start : start + len(part)] = part.labels.astype(np.int64)
            splits[split], start = rows, start + len(part)
        return RawDataset(images, labels, splits, list(getattr(parts["train"], "classes", CLASSES)))
