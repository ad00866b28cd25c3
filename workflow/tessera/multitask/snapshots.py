"""Snapshots of a training: encoders as they would be handed on at the end of some of its epochs. Torch-free.

In a source's artifact `snapshots/epoch_<n>/` has what the artifact itself has of the encoder at the end: so whoever
reads an encoder from a folder reads one of a snapshot in the same way. `snapshots/index.json` counts image views.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tessera.errors import brief
from tessera.files import draft_of, settle, sha256_of
from tessera.registry import Checked

FOLDER, INDEX = "snapshots", "index.json"


class SnapshotOptions(Checked):
    """At which epochs of a pretraining the encoder is kept: every few, or those of a list."""

    every: int | None = Field(None, ge=1, description="Epochs from one snapshot to the next, and before the first.")
    epochs: tuple[int, ...] | None = Field(
        None, description="The epochs, counted from 1, ascending; the last one of the training may be among them."
    )

    @field_validator("epochs")
    @classmethod
    def _ascend(cls, epochs: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if epochs is None:
            return None
        if not epochs:
            raise ValueError("names no epoch: leave snapshots out, or name some")
        for epoch in epochs:
            if epoch < 1:
                raise ValueError(
                    f"should be 1 or more, but one is {epoch}: leave it out; an untrained encoder is a row of its own, "
                    "of method `random`"
                )
        for epoch, following in pairwise(epochs):
            if epoch == following:
                raise ValueError(f"names epoch {epoch} twice: leave one out")
            if epoch > following:
                listed = ", ".join(map(str, sorted(set(epochs))))
                raise ValueError(f"should ascend, but {following} stands after {epoch}: write {brief(f'[{listed}]')}")
        return epochs

    @model_validator(mode="after")
    def _says_it_once(self) -> "SnapshotOptions":
        if (self.every is None) == (self.epochs is None):
            raise ValueError(
                "should say `every` or `epochs`, and not both: `{every: 5}`, or a list such as `[1, 2, 5]`"
            )
        return self

    def before(self, end: int) -> tuple[int, ...]:
        """The epochs before the last, at whose end the encoder is handed on in any case."""
        chosen = self.epochs if self.every is None else range(self.every, end, self.every)
        return tuple(epoch for epoch in chosen or () if epoch < end)

    def after(self, end: int) -> str | None:
        """What is asked for beyond the last epoch, in words; None where nothing is."""
        if self.every is not None:
            return f"the first of `every: {self.every}` is epoch {self.every}" if self.every > end else None
        late = [epoch for epoch in self.epochs or () if epoch > end]
        return f"epoch {late[0]} is asked for" if late else None


def _listed(value: Any) -> Any:
    """`[1, 2, 5]` means `{epochs: [1, 2, 5]}`."""
    if isinstance(value, list | tuple):
        for item in value:
            if not isinstance(item, int) or isinstance(item, bool):
                raise ValueError(f"should list epochs, as whole numbers, but one is {brief(repr(item))}")
        return {"epochs": value}
    if isinstance(value, bool | int | float | str):
        raise ValueError(f"should be `{{every: 5}}` or a list such as `[1, 2, 5]`, but is {brief(repr(value))}")
    return value


SnapshotsField = Annotated[
    SnapshotOptions | None,
    BeforeValidator(_listed, json_schema_input_type=SnapshotOptions | tuple[int, ...] | None),
]


def handed_on(source: Path, at: int | None) -> Path:
    """The folder of an encoder in a source's artifact: the one at the end of an epoch; None: of the training."""
    return source if at is None else source / FOLDER / f"epoch_{at}"


class Snapshots:
    """The snapshots of a training that lasts, in the folder of its state.

    Args:
        folder: Of the training's state; None keeps nothing on disk, and so takes no snapshots.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._sums: dict[str, dict[str, str]] = {}  # epoch to file to SHA-256

    def keep(self, epoch: int, write: Callable[[Path], None]) -> None:
        """Takes one: `write` fills a folder, which then has its place in one rename.

        Raises:
            ValueError: If there is no folder.
        """
        if self._folder is None:
            raise ValueError("snapshots need a folder to be kept in")
        place = handed_on(self._folder, epoch)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = draft_of(place)
        for left in (draft, place):  # of a process that was killed before it noted that it had taken this one
            shutil.rmtree(left, ignore_errors=True)
        draft.mkdir()
        write(draft)
        settle(draft)  # the state that is saved next says that it is there
        self._sums[str(epoch)] = {path.name: sha256_of(path) for path in sorted(draft.iterdir())}
        os.replace(draft, place)

    def state_dict(self) -> dict[str, dict[str, str]]:
        """What was kept: checksums of files, by epoch."""
        return {epoch: dict(sums) for epoch, sums in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, str]], epochs: Sequence[int]) -> None:
        """Goes on from such a state.

        Args:
            epochs: Those whose snapshots must be there.

        Raises:
            ValueError: If one is not, or is not what was kept.
        """
        if self._folder is None and epochs:
            raise ValueError("its snapshots have no folder")
        for epoch in epochs:
            sums, place = state.get(str(epoch), {}), handed_on(self._folder or Path(), epoch)
            there = {name: sha256_of(place / name) for name in sums if (place / name).is_file()}
            if not sums or there != sums:
                raise ValueError(f"the snapshot of epoch {epoch} is gone or damaged")
        self._sums = {str(epoch): dict(state[str(epoch)]) for epoch in epochs}

    def hand_over(self, output: Path, views: Sequence[int]) -> None:
        """Copies what was kept into an artifact's folder, with the image views up to each; nothing if nothing was.

        Copies, since the state is to be whole until the artifact is there.

        Args:
            views: Image views that the encoder was trained on in each epoch of the training.
        """
        if self._folder is None or not self._sums:
            return
        for epoch in self._sums:
            at = int(epoch)
            shutil.copytree(handed_on(self._folder, at), handed_on(output, at))
        so_far, end = list(accumulate(views)), len(views)
        counted = {epoch: so_far[int(epoch) - 1] for epoch in [*self._sums, str(end)]}
        text = json.dumps({"image_views": counted}, indent=1) + "\n"
        (output / FOLDER / INDEX).write_text(text, encoding="utf-8")


def views_at(source: Path, epoch: int) -> int | None:
    """Image views that an artifact's encoder had been trained on by the end of an epoch; None where it is not told."""
    try:
        told = json.loads((source / FOLDER / INDEX).read_text(encoding="utf-8"))["image_views"][str(epoch)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return told if isinstance(told, int) else None
