"""Images with a label, and how many of them were told right."""

from torch import Tensor

from tessera.data.store import Split
from tessera.errors import DataError


def with_labels(split: Split, what: str) -> Split:
    """The images of a split whose label is known; the split itself where that is every image.

    Raises:
        DataError: If there are none; `what` names the split.
    """
    known = split.labels >= 0
    if not known.any():
        raise DataError(f"{what} has no labelled images, so there is nothing to score: choose another dataset")
    return split if known.all() else split.subset(known.nonzero().flatten())


def percent(correct: Tensor) -> float:
    """The share of true entries, in percent; (…) bool, at least one."""
    return 100.0 * correct.double().mean().item()
