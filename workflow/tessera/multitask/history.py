"""What a pretraining reports: rows of its history, and figures of the whole."""

from collections.abc import Sequence
from statistics import fmean, pstdev

Row = dict[str, float | int | str]


def impact_spread(history: Sequence[Row]) -> float | None:
    """How unevenly the tasks move the encoder: std over mean of the tasks' impacts, averaged over the epochs.

    Source: Kim, Lee & Song 2019, Fig. 1; the figure is ours (docs/methods.md 1.11). None for fewer than two impacts.

    >>> impact_spread([{"jigsaw.impact": 1.0, "colorization.impact": 3.0}])
    0.5
    """
    epochs = [[float(value) for key, value in row.items() if key.endswith(".impact")] for row in history]
    spreads = [pstdev(impacts) / fmean(impacts) for impacts in epochs if len(impacts) > 1 and fmean(impacts) > 0]
    return fmean(spreads) if spreads else None


def summary(history: Sequence[Row], images: Sequence[int]) -> dict[str, float]:
    """Figures of the last epoch, `impact_spread` and `images_per_second`; nothing for a training without epochs.

    Args:
        images: Drawn in each epoch.
    """
    if not history:
        return {}
    metrics = {key: float(value) for key, value in history[-1].items() if not isinstance(value, str)}
    metrics["images_per_second"] = sum(images) / max(1e-9, sum(float(row["seconds"]) for row in history))
    if (spread := impact_spread(history)) is not None:
        metrics["impact_spread"] = spread
    return metrics
