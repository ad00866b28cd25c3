"""Label columns of the levels of a hierarchy."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from tessera.data.datasets.hierarchies import Level
from tessera.data.reading import printable
from tessera.data.store import RawColumn
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
        DataError: If a class is in no group of a level, or in two.
    """
    found = {}
    for column, level in levels.items():
        group_of: dict[str, str] = {}
        for group, members in level.items():
            for name in members:
                if name in group_of:
                    raise DataError(f"{shown}: `{column}`: class `{name}` is in `{group_of[name]}` and in `{group}`")
                group_of[name] = group
        for name in classes:
            if name not in group_of:
                near = difflib.get_close_matches(name, group_of, n=1)
                hint = f" Did you mean `{name}` by `{near[0]}`?" if near else ""
                raise DataError(f"{shown}: `{column}`: class `{printable(name)}` is in no group.{hint}")
        used = {group_of[name] for name in classes}
        groups = [group for group in level if group in used]
        label_of = np.array([*(groups.index(group_of[name]) for name in classes), -1], dtype=np.int64)
        found[column] = RawColumn(label_of[labels], groups)
    return found
