"""Sharing: how do the tasks share the encoder?"""

from tessera.multitask.sharing.options import (
    CrossStitchSharingOptions,
    HardSharingOptions,
    LassoSharingOptions,
    ModelPatchSharingOptions,
    MtanSharingOptions,
    SharingOptions,
)
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
    "cross_stitch": Part(
        "tessera.multitask.sharing.cross_stitch:CrossStitchSharing",
        CrossStitchSharingOptions,
        "an encoder a task, their maps mixed",
        "Misra et al. 2016",
    ),
    "mtan": Part(
        "tessera.multitask.sharing.mtan:MtanSharing",
        MtanSharingOptions,
        "attention of each task to the maps of one encoder",
        "Liu et al. 2019",
    ),
    "model_patch": Part(
        "tessera.multitask.sharing.model_patch:ModelPatchSharing",
        ModelPatchSharingOptions,
        "batch norms or depthwise convolutions a task",
        "Mudrakarta et al. 2019",
    ),
}
