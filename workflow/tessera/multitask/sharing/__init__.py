"""Sharing: how do the tasks share the encoder?"""

from tessera.multitask.sharing.options import HardSharingOptions
from tessera.registry import Part

PARTS = {
    "hard": Part("tessera.multitask.sharing.hard:HardSharing", HardSharingOptions, "one encoder, one head a task"),
}
