"""ImageNet (ILSVRC2012), from its standard tree."""

import logging
import os
from pathlib import Path
from typing import Any

import torchvision
from torchvision.datasets.imagenet import ARCHIVE_META, META_FILE

from tessera.data.datasets.base import DatasetReader, ListedDataset
from tessera.data.datasets.trees import list_samples, opened
from tessera.errors import DataError

NUM_IMAGES = 1_281_167, 50_000  # of training and of validation

log = logging.getLogger("tessera")


class Imagenet(DatasetReader):
    """ILSVRC2012: 1,281,167 training images and, as test split, 50,000 validation images of 1,000 classes.

    Source: Russakovsky et al., IJCV 2015. Read by torchvision's `ImageNet` where the devkit is there, which also
    unpacks the official archives, else by its `ImageFolder`. Either way a class's name is its wnid, and labels follow
    their order, so that the devkit does not change the dataset.

    Shape:
        images: (N, 3, image_size, image_size) uint8, once decoded.
    """

    def read(self, data_root: Path) -> ListedDataset:
        root = data_root / self.options.path
        archive = (root / ARCHIVE_META["devkit"][0]).is_file() and os.access(root, os.W_OK)  # META_FILE is made of it
        devkit = (root / META_FILE).is_file() or archive
        parts = [self._open(root, split, devkit) for split in ("train", "val")]
        names = [list(getattr(part, "wnids", part.classes)) for part in parts]
        if others := sorted(set(names[0]) ^ set(names[1])):
            where, lacking = ("train", "val") if others[0] in names[0] else ("val", "train")
            raise DataError(
                f"{root}: class `{others[0]}` is in `{where}` but not in `{lacking}` ({len(others)} such classes). "
                "Unpack the missing ones, or remove the others."
            )
        found = tuple(len(part.samples) for part in parts)
        if found != NUM_IMAGES:
            log.warning("%s: holds %d and %d images in `train` and `val`; ILSVRC2012 has %d and %d",
                        root, *found, *NUM_IMAGES)  # fmt: skip
        return list_samples(root, parts[0].samples, parts[1].samples, names[0], self.options)

    def _open(self, root: Path, split: str, devkit: bool) -> Any:
        folder, archive = root / split, ARCHIVE_META[split][0]
        if not folder.is_dir():
            if not (devkit and (root / archive).is_file()):
                raise DataError(
                    f"{folder}: no such folder. Put the images of ILSVRC2012 there as `{split}/<wnid>/*.JPEG`, or "
                    f"`{archive}` and `{ARCHIVE_META['devkit'][0]}` into {root}, which are then unpacked."
                )
            log.info("%s: unpacking %s, which takes a while", root, archive)
        elif not any(path.is_dir() for path in folder.iterdir()):
            number = sum(1 for _ in folder.iterdir())
            what = f"holds {number} files that are not sorted into a folder a wnid" if number else "is empty"
            raise DataError(
                f"{folder}: {what}. It must hold `<wnid>/*.JPEG`, such as `{split}/n01440764/"
                f"ILSVRC2012_{split}_00000293.JPEG`: unpack `{archive}` so (torchvision.datasets.ImageNet does it)."
            )
        elif bare := sorted(path.name for path in folder.iterdir() if path.is_dir() and not any(path.iterdir())):
            raise DataError(
                f"{folder}: the folder `{bare[0]}` is empty ({len(bare)} such folders). "
                "Unpack its images again, or remove the folder (in `train` and `val`)."
            )
        datasets = torchvision.datasets
        what = f"{folder}: torchvision cannot read it as `<wnid>/*.JPEG`"
        if devkit:
            return opened(what, lambda: datasets.ImageNet(root, split=split))
        return opened(what, lambda: datasets.ImageFolder(folder))
