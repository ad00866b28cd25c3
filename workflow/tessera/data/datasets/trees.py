"""Lists what a class of torchvision found in a tree, to be packed."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tessera.data.datasets.base import ListedDataset
from tessera.data.decode import Encoded
from tessera.data.reading import read_file
from tessera.errors import DataError

Samples = Sequence[tuple[str, int]]


def list_samples(root: Path, train: Samples, test: Samples, classes: list[str], options: Any) -> ListedDataset:
    """The training images, then the test images.

    Args:
        root: The dataset's folder.
        train, test: Path and label of each image.
        classes: Names, by label.
        options: `image_size` and `damaged`.
    """
    both = (train, test)

    def sample(row: int) -> str:
        return (train[row] if row < len(train) else test[row - len(train)])[0]

    def read(start: int) -> Iterator[Encoded]:
        for row in range(start, len(train) + len(test)):
            path = sample(row)
            yield Encoded(path, partial(read_file, Path(path)))

    return ListedDataset(
        labels=np.fromiter((label for part in both for _, label in part), dtype=np.int64),
        splits={"train": np.arange(len(train)), "test": np.arange(len(train), len(train) + len(test))},
        classes=classes,
        image_size=options.image_size,
        name=lambda row: Path(sample(row)).relative_to(root).as_posix(),
        read=read,
        damaged=options.damaged,
    )


def opened(what: str, make: Callable[[], Any]) -> Any:
    """What a class of torchvision gives.

    Args:
        what: The folder, and what to do where it does not open.

    Raises:
        DataError: If it finds something missing or unfit.
    """
    try:
        return make()
    except Exception as error:  # torch raises many kinds where a devkit's file is damaged
        raise DataError(f"{what} ({' '.join(str(error).split())})") from error
