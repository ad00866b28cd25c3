"""Label columns of the levels of a hierarchy."""

from collections.abc import Mapping, Sequence

import numpy as np

from tessera.data.columns import RawColumn
from tessera.data.datasets.hierarchies import Level, unfit_levels
from tessera.errors import DataError


def columns_above(
    levels: Mapping[str, Level], labels: np.ndarray, classes: Sequence[str], shown: str
) -> dict[str, RawColumn]:
    """The label columns of a hierarchy; a group that none of the classes is in is left out.

    Args:
        shown: The dataset, for messages.

    Shape:
        labels: (N,) int64, class indices; -1 where there is none, and so in each column.

    Raises:
        DataError: If a class is in no group of a level, or in two, or all are in one.
    """
    if unfit := unfit_levels(levels, classes):
        raise DataError(f"{shown}: {unfit}")
    found = {}
    for column, level in levels.items():
        group_of = {name: group for group, members in level.items() for name in members}
        used = {group_of[name] for name in classes}
        groups = [group for group in level if group in used]
        label_of = np.array([*(groups.index(group_of[name]) for name in classes), -1], dtype=np.int64)
        found[column] = RawColumn(label_of[labels], groups)
    return found
