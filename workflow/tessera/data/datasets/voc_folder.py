"""Marked images of one's own, in Pascal VOC form: in a tree or in an archive that is read directly."""

from pathlib import Path

import numpy as np
import torch

from tessera.data.archives import check_sha256
from tessera.data.datasets.base import DatasetReader, ListedDataset, ListedObjects
from tessera.data.datasets.voc_annotations import Marker, PassedOver
from tessera.data.datasets.voc_form import Pair, VocForm
from tessera.errors import DataError


class VocFolder(DatasetReader):
    """`Annotations/*.xml`, `JPEGImages/*` and `ImageSets/Main/*.txt`, at any depth of a tree or archive.

    Source: the form of Everingham et al., IJCV 2010. An annotation is of the image that has its name, up to the
    suffix; where there is none, of the one that its <filename> names. Images that no list names are left out.

    An archive is streamed twice: once for names, annotations and sizes, so that what is unfit is told before any
    image is packed, once for the images. Rows keep the order of the source, splits that of the lists, so that a tree
    and any archive of it give the same dataset.

    Shape:
        images: encoded, each of its own size.
        objects: boxes (M, 4) float32, labels (M,) int64, difficult (M,) bool, end to end.
    """

    def read(self, data_root: Path) -> ListedObjects:
        path = data_root / self.options.path
        if self.options.sha256 is not None and path.exists():
            check_sha256(path, self.options.sha256)
        passed_over = PassedOver(self.options.damaged)
        form = VocForm(path, passed_over)
        pairs = self._pairs(form, self._split(form))
        in_order = sorted((pair for part in pairs.values() for pair in part), key=lambda pair: pair.photo.number)
        marker = Marker(self.options.classes, passed_over)
        for pair in in_order:
            marker.add(pair.annotation, pair.called, form.size(pair.photo))
        objects, classes = marker.finish(self.options.word())

        photos = [pair.photo for pair in in_order]
        row_of = {photo.number: row for row, photo in enumerate(photos)}
        images = ListedDataset(
            np.full(len(photos), -1, dtype=np.int64),
            {
                split: np.array([row_of[pair.photo.number] for pair in part], dtype=np.int64)
                for split, part in pairs.items()
            },
            classes,
            self.options.image_size,
            name=lambda row: "/".join(photos[row].parts),
            read=lambda start: form.encoded(photos, start),
            damaged=self.options.damaged,
            skipped=tuple(passed_over.lines),
            most_damaged=1.0,
        )
        return ListedObjects(images, objects)

    def _split(self, form: VocForm) -> dict[str, list[str]]:
        """Names of the images of each split."""
        if not form.lists:
            return self._split_off(form, form.names)
        train = form.listed("train", self.options.train)
        if self.options.test is None:
            return self._split_off(form, train)
        test = form.listed("test", self.options.test)
        if both := sorted(set(train) & set(test)):
            more = f" and {len(both) - 1} more are" if len(both) > 1 else " is"
            raise DataError(
                f"{form.path}: image `{both[0]}`{more} in both lists, `{self.options.train}` and "
                f"`{self.options.test}`: what is tested must not be learned. Name lists that share no image, or "
                "set `test: null`."
            )
        return {"train": train, "test": test}

    def _split_off(self, form: VocForm, names: list[str]) -> dict[str, list[str]]:
        """Splits `test_fraction` off, of the images that show something to learn and of the others alike."""
        names = sorted(names)  # as the order of a list says nothing
        generator = torch.Generator().manual_seed(self.options.seed)
        showing = {name for name in names if self._shows_something(form, name)}
        tested: set[str] = set()
        for group in ([name for name in names if name in showing], [name for name in names if name not in showing]):
            order = torch.randperm(len(group), generator=generator).tolist()
            number = round(self.options.test_fraction * len(group))
            # At least one for testing; and of those that show something, one is left to learn from.
            number = max(number, 0 if tested else 1)
            number = min(number, len(group) - 1 if set(group) <= showing else len(group))
            tested.update(group[place] for place in order[: max(0, number)])
        if not 0 < len(tested) < len(names):
            raise DataError(
                f"{form.path}: {len(names)} annotated image{'s are' if len(names) != 1 else ' is'} too few to split "
                "`test_fraction` off. Add some, or name lists of other images as `train` and `test`."
            )
        return {
            "train": [name for name in names if name not in tested],
            "test": [name for name in names if name in tested],
        }

    def _shows_something(self, form: VocForm, name: str) -> bool:
        try:
            found = form.annotation(name).objects
        except (KeyError, ValueError):  # told when it is paired with its image
            return False
        wanted = self.options.classes
        return any(not one.difficult and one.wrong is None and (wanted is None or one.name in wanted) for one in found)

    def _pairs(self, form: VocForm, names: dict[str, list[str]]) -> dict[str, list[Pair]]:
        """Images and annotations of each split; no image is there twice."""
        taken: set[int] = set()
        pairs: dict[str, list[Pair]] = {split: [] for split in names}
        for split, listed in names.items():
            for name in listed:
                if (pair := form.pair(name)) is None:
                    continue
                if pair.photo.number in taken:
                    what = f"{pair.called}: its image, `{'/'.join(pair.photo.parts)}`, has another annotation already"
                    form.passed_over.add(what, "Remove one of them.")
                    continue
                taken.add(pair.photo.number)
                pairs[split].append(pair)
        return pairs
