"""Places365-Standard, from its standard tree."""

from functools import partial
from pathlib import Path
from typing import Any

import torchvision

from tessera.data.datasets.base import DatasetReader, ListedDataset
from tessera.data.datasets.trees import list_samples, opened
from tessera.errors import DataError

SPLITS = ("train-standard", "val")


class Places365(DatasetReader):
    """Places365-Standard: 1,803,460 training images and, as test split, 36,500 validation images of 365 scenes.

    Source: Zhou et al., TPAMI 2018. Read by torchvision's `Places365`, which compares the checksums of the lists.

    Shape:
        images: (N, 3, image_size, image_size) uint8, once decoded.
    """

    def read(self, data_root: Path) -> ListedDataset:
        root = data_root / self.options.path
        cls: Any = torchvision.datasets.Places365
        for name, _ in (cls._CATEGORIES_META, *(cls._FILE_LIST_META[split] for split in SPLITS)):
            if not (root / name).is_file():
                archive = cls._DEVKIT_META["standard"][0]
                raise DataError(f"{root / name}: no such file. Unpack `{archive}` into {root}.")
        what = f"{root}: torchvision cannot read it as Places365-Standard; get the lists again"
        train, test = (opened(what, partial(cls, root, split=split, small=self.options.small)) for split in SPLITS)
        for part in (train, test):
            folder = Path(part.images_dir)
            if not folder.is_dir() or not any(folder.iterdir()):
                archive = cls._IMAGES_META[part.split, part.small][0]
                state = "is empty" if folder.is_dir() else "no such folder"
                rename = " and rename its folder so" if part is train else ""
                raise DataError(
                    f"{folder}: {state}. Unpack `{archive}` into {root}{rename}, or set `small: "
                    f"{str(not part.small).lower()}` for the images of the other size."
                )
        classes = sorted(train.class_to_idx, key=train.class_to_idx.__getitem__)
        return list_samples(root, train.imgs, test.imgs, classes, self.options)
