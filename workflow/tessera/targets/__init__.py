"""Protocols: how is the target measured?"""

from tessera.registry import Part
from tessera.targets.options import (
    ClassificationProtocolOptions,
    ClusteringOptions,
    DetectionOptions,
    KnnOptions,
    LinearProbeOptions,
    ProtocolOptions,
)

BASE = ProtocolOptions
PARTS = {
    "classification": Part(
        "tessera.targets.classification:Classification", ClassificationProtocolOptions, "top-1 accuracy of the network"
    ),
    "detection": Part(
        "tessera.detection.protocol:Detection",
        DetectionOptions,
        "mean average precision of boxes",
        "Everingham et al. 2010",
    ),
    "linear_probe": Part(
        "tessera.targets.linear_probe:LinearProbe", LinearProbeOptions, "logistic regression on frozen features"
    ),
    "knn": Part("tessera.targets.knn:Knn", KnnOptions, "nearest neighbours of frozen features"),
    "clustering": Part(
        "tessera.clustering.dec:DeepEmbeddedClustering",
        ClusteringOptions,
        "deep embedded clustering",
        "Xie et al. 2016",
    ),
}
