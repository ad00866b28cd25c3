"""What can be set of the way tasks share the encoder."""

from typing import Literal

from tessera.registry import Options


class HardSharingOptions(Options):
    """Hard sharing: one encoder for all tasks, one head a task."""

    name: Literal["hard"] = "hard"
