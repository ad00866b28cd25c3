"""Regularizers: what keeps the features steady while tasks take turns, or general?"""

from tessera.multitask.regularizers.options import (
    DgrOptions,
    DivergenceOptions,
    NoRegularizerOptions,
    PtaOptions,
    RegularizerOptions,
    SamOptions,
)
from tessera.registry import Part

BASE = RegularizerOptions
PARTS = {
    "none": Part("tessera.multitask.regularizers.none:NoRegularizer", NoRegularizerOptions, "nothing"),
    "divergence": Part(
        "tessera.multitask.regularizers.divergence:Divergence",
        DivergenceOptions,
        "divergence of the channel distribution from an anchor",
        "Kim, Lee & Song 2019, Eq. 3 and Table 5",
    ),
    "dgr": Part(
        "tessera.multitask.regularizers.dgr:DummyGradientNorm",
        DgrOptions,
        "norm of the loss gradient of frozen random heads",
        "Shin, Do & Son 2024, section 3",
    ),
    "pta": Part(
        "tessera.multitask.regularizers.pta:PseudoTasks",
        PtaOptions,
        "several trained heads a task, by the mean of their losses",
        "Meyerson & Miikkulainen 2018, section 3",
    ),
    "sam": Part(
        "tessera.multitask.regularizers.sam:SharpnessAware",
        SamOptions,
        "gradients from where the loss is worst nearby",
        "Foret, Kleiner, Mobahi & Neyshabur 2021",
    ),
}
