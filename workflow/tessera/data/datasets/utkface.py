"""UTKFace: faces whose files' names say age, gender and ethnicity."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from tessera.data.archives import encoded, entries, name_in
from tessera.data.columns import RawColumn
from tessera.data.datasets.base import DatasetReader, ListedDataset, RawDataset
from tessera.data.datasets.layout import Parts, ignored, is_image
from tessera.data.datasets.options.utkface import AGES, ETHNICITIES, GENDERS, Face, read_name
from tessera.data.decode import Encoded, decode_images
from tessera.data.store import label_subset
from tessera.errors import DataError


class Utkface(DatasetReader):
    """UTKFace's aligned faces, from their folder, at any depth, or an archive of it.

    Source: Zhang, Song & Qi, CVPR 2017; ages in seven classes as in DGR, section 4.2.

    Label columns: `age` (7 classes), `gender` (2), `ethnicity` (5); `class` is the age.

    There is no official split. Ours keeps `test_fraction` of each age for testing. The same picture lies in the data
    under several names, and some of these tell another age: what is equal, pixel by pixel, when it is decoded to
    `image_size`, is drawn as one, with the age of the name that comes first, and lies on one side of the split.
    Pictures that are merely alike are not looked for. `within: train` leaves the test faces out, and divides the others
    once more in the same way: for choosing settings.

    Rows keep the order in which the source gave them; the splits' rows are sorted by name, so that a folder and any
    archive of it give the same dataset. Of two files of one name the last one counts.

    Shape:
        images: (N, image_size, image_size, 3) uint8.
    """

    def read(self, data_root: Path) -> RawDataset:
        path = data_root / self.options.path
        called, faces, names, skipped = name_in(path), list[Face](), list[Parts](), list[str]()

        def found() -> Iterator[Encoded]:
            for entry in entries(path):
                if ignored(entry.parts) or (entry.read is None and entry.refused is None):
                    continue
                face = read_name(entry.parts[-1]) if is_image(entry.parts) else "not an image"
                if entry.refused is not None or isinstance(face, str):
                    skipped.append(f"{called(entry.parts)}: {entry.refused or face}")
                else:
                    faces.append(face)
                    names.append(entry.parts)
                    yield encoded(called(entry.parts), entry)

        images = decode_images(found(), self.options.image_size, self.options.word())
        if not names:
            raise DataError(f"{path}: holds no image named `<age>_<gender>_<race>_<date>.jpg`.")
        row_of = {parts[-1]: row for row, parts in enumerate(names)}
        skipped += [f"{called(parts)}: another file has its name" for row, parts in enumerate(names)
                    if row_of[parts[-1]] != row]  # fmt: skip
        labels = np.array(faces, dtype=np.int64)
        rows = np.array([row_of[name] for name in sorted(row_of)], dtype=np.int64)
        splits = self._split(images, labels[:, 0], rows)
        return RawDataset(
            images,
            labels[:, 0],
            splits,
            list(AGES),
            tuple(skipped),
            {
                name: RawColumn(labels[:, number], list(classes))
                for number, (name, classes) in enumerate(zip(Face._fields, (AGES, GENDERS, ETHNICITIES), strict=True))
            },
        )

    def divided(self, found: RawDataset | ListedDataset, rows: np.ndarray) -> dict[str, np.ndarray]:
        """As the whole is, so that files of one picture stay together."""
        assert isinstance(found, RawDataset)
        return self._split(found.images, found.labels, rows)

    def _split(self, images: np.ndarray, ages: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Draws pictures, of each age alike; files of one picture go together."""
        number_of: dict[bytes, int] = {}  # of a picture, in the order of names
        picture = np.array([number_of.setdefault(sha256(images[row]).digest(), len(number_of)) for row in rows])
        _, first = np.unique(picture, return_index=True)
        generator = torch.Generator().manual_seed(self.options.seed)
        drawn = label_subset(torch.from_numpy(ages[rows[first]]), self.options.test_fraction, generator)
        tested = np.isin(picture, drawn.numpy())
        return {"train": rows[~tested], "test": rows[tested]}
