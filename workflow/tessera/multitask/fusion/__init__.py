"""Fusion: how do the tasks' weights become one encoder?"""

from tessera.multitask.fusion.options import AverageOptions, FusionOptions, NoFusionOptions, TteOptions
from tessera.registry import Part

BASE = FusionOptions
PARTS = {
    "none": Part("tessera.multitask.fusion.none:NoFusion", NoFusionOptions, "the last weights"),
    "average": Part("tessera.multitask.fusion.average:Average", AverageOptions, "mean of the tasks' weights"),
    "tte": Part(
        "tessera.multitask.fusion.tte:TemporalTaskEnsemble",
        TteOptions,
        "temporal task ensemble",
        "Kim, Lee & Song 2019, Eq. 7 to 10",
    ),
}
