"""Pascal VOC 2007 and 2012."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torchvision
from torchvision.datasets.voc import DATASET_YEAR_DICT

from tessera.data.datasets.base import DatasetReader, ListedDataset, ListedObjects
from tessera.data.datasets.downloads import open_or_download
from tessera.data.datasets.voc_annotations import Marker, PassedOver, parse_annotation
from tessera.data.datasets.voc_form import size_of
from tessera.data.decode import Encoded
from tessera.data.reading import MOST_ANNOTATION, UnfitFileError, read_file, refuse_unless_regular

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
SETS = {"train": [("2007", "trainval"), ("2012", "trainval")], "test": [("2007", "test")]}
DEVKIT = "VOCdevkit"


class Voc0712(DatasetReader):
    """VOC 2007 and 2012 trainval for training, 16,551 images, and VOC 2007 test for testing, 4,952; 20 classes.

    Source: Everingham et al., IJCV 2010; the union as in Liu et al., ECCV 2016, section 3.1 (SSD). Files of
    torchvision, found in `VOCdevkit/VOC2007` and `VOCdevkit/VOC2012`, from its archives or downloaded.

    Shape:
        images: encoded, each of its own size.
        objects: boxes (M, 4) float32, labels (M,) int64, difficult (M,) bool, end to end.
    """

    def read(self, data_root: Path) -> ListedObjects:
        passed_over = PassedOver(self.options.damaged)
        marker = Marker(CLASSES, passed_over)
        files: list[Path] = []
        splits = {}
        for split, parts in SETS.items():
            start = len(files)
            for year, image_set in parts:
                found = _open(data_root, year, image_set)
                for image, annotation in zip(found.images, found.annotations, strict=True):
                    if _add(marker, Path(image), Path(annotation), passed_over):
                        files.append(Path(image))
            splits[split] = np.arange(start, len(files))
        objects, classes = marker.finish(self.options.word())

        def read(start: int) -> Iterator[Encoded]:
            return (Encoded(str(file), partial(read_file, file)) for file in files[start:])

        images = ListedDataset(
            np.full(len(files), -1, dtype=np.int64),
            splits,
            classes,
            self.options.image_size,
            name=lambda row: files[row].relative_to(data_root / DEVKIT).as_posix(),
            read=read,
            damaged=self.options.damaged,
            skipped=tuple(passed_over.lines),
            most_damaged=1.0,
        )
        return ListedObjects(images, objects)


def _open(data_root: Path, year: str, image_set: str) -> Any:
    """Torchvision's list of images and annotations."""
    about = DATASET_YEAR_DICT[f"{year}-test" if image_set == "test" else year]
    known = {"filename": about["filename"], "url": about["url"], "base_folder": about["base_dir"]}
    names = data_root / about["base_dir"] / "ImageSets" / "Main" / f"{image_set}.txt"
    if names.exists():
        refuse_unless_regular(names)
    cls = type(f"Voc{year}", (torchvision.datasets.VOCDetection,), known)  # what `open_or_download` asks a class
    return open_or_download(cls, data_root, year=year, image_set=image_set)


def _add(marker: Marker, image: Path, annotation: Path, passed_over: PassedOver) -> bool:
    """Takes an image with its annotation; False where something of it is missing or damaged."""
    if not annotation.is_file():
        passed_over.add(f"{annotation}: not found, but its image is in a list", "Unpack the archive again.")
        return False
    try:
        parsed = parse_annotation(read_file(annotation, MOST_ANNOTATION))
    except UnfitFileError as error:
        passed_over.add(f"{annotation}: {error.reason}", error.remedy)
        return False
    except ValueError as error:
        passed_over.add(f"{annotation}: {error}", "Correct or remove it.")
        return False
    if not image.is_file():
        passed_over.add(
            f"{annotation}: its image, `{image.name}`, is not in `{image.parent}`", "Unpack the archive again."
        )
        return False
    marker.add(parsed, str(annotation), size_of(image))
    return True
