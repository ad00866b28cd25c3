"""Target networks: the small network that is measured in the end."""

from tessera.models.networks.options import ReducedAlexNetOptions
from tessera.registry import Part

PARTS = {
    "reduced_alexnet": Part(
        "tessera.models.networks.reduced_alexnet:ReducedAlexNet",
        ReducedAlexNetOptions,
        "five convolutions, three fully connected layers, kernels 3x3",
        "Kim, Lee & Song 2019, section 4.1",
    ),
}
