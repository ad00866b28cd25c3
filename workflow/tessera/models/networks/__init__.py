"""Target networks: the small network that is measured in the end, or a classifier or detector on top of an encoder."""

from tessera.models.networks.options import (
    ClassifierOptions,
    NetworkOptions,
    ReducedAlexNetOptions,
    SSD300Options,
)
from tessera.registry import Part

BASE = NetworkOptions
PARTS = {
    "reduced_alexnet": Part(
        "tessera.models.networks.reduced_alexnet:ReducedAlexNet",
        ReducedAlexNetOptions,
        "five convolutions, three fully connected layers, kernels 3x3",
        "Kim, Lee & Song 2019, section 4.1",
    ),
    "classifier": Part(
        "tessera.models.networks.classifier:EncoderClassifier",
        ClassifierOptions,
        "any encoder, its last map averaged, then one linear layer or a few",
    ),
    "ssd300": Part(
        "tessera.models.networks.ssd:SSD300",
        SSD300Options,
        "boxes and classes from maps of several sizes, in one pass",
        "Liu et al. 2016",
    ),
}
