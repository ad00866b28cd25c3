"""Regularizers: what keeps the features steady while tasks take turns?"""

from tessera.multitask.regularizers.options import DivergenceOptions, NoRegularizerOptions
from tessera.registry import Options, Part

BASE = Options
PARTS = {
    "none": Part("tessera.multitask.regularizers.none:NoRegularizer", NoRegularizerOptions, "nothing"),
    "divergence": Part(
        "tessera.multitask.regularizers.divergence:Divergence",
        DivergenceOptions,
        "divergence of the channel distribution from an anchor",
        "Kim, Lee & Song 2019, Eq. 3 and Table 5",
    ),
}
