"""Sharing: how do the tasks share the encoder?"""

from tessera.multitask.sharing.options import HardSharingOptions, LassoSharingOptions, SharingOptions
from tessera.registry import Part

BASE = SharingOptions
PARTS = {
    "hard": Part("tessera.multitask.sharing.hard:HardSharing", HardSharingOptions, "one encoder, one head a task"),
    "lasso": Part(
        "tessera.multitask.sharing.lasso:LassoSharing",
        LassoSharingOptions,
        "each head mixes the last block's units",
        "Doersch & Zisserman 2017",
    ),
}
