"""What each step of a pretraining leaves: figures on the device, read once, at the end of an epoch."""

from collections.abc import Sequence

import torch
from torch import Tensor

Record = dict[str, Tensor]


def means(records: Sequence[Record]) -> dict[str, float]:
    """Mean of each figure over the records that have it: the one moment at which the device is waited for."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    if not keys:
        return {}
    values = [torch.stack([record[key].float() for record in records if key in record]).mean() for key in keys]
    return dict(zip(keys, torch.stack(values).tolist(), strict=True))
