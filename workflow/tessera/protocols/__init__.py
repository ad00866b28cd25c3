"""Protocols: how is the target measured?"""

from tessera.protocols.options import (
    ClassificationProtocolOptions,
    ClusteringOptions,
    DetectionOptions,
    KnnOptions,
    LinearProbeOptions,
    ProtocolOptions,
    TasksOptions,
)
from tessera.registry import Part

BASE = ProtocolOptions
PARTS = {
    "classification": Part(
        "tessera.protocols.classification:Classification",
        ClassificationProtocolOptions,
        "top-1 accuracy of the network",
    ),
    "detection": Part(
        "tessera.detection.protocol:Detection",
        DetectionOptions,
        "mean average precision of boxes",
        "Everingham et al. 2010",
    ),
    "linear_probe": Part(
        "tessera.protocols.linear_probe:LinearProbe", LinearProbeOptions, "logistic regression on frozen features"
    ),
    "knn": Part("tessera.protocols.knn:Knn", KnnOptions, "nearest neighbours of frozen features"),
    "tasks": Part(
        "tessera.multitask.protocol:Tasks", TasksOptions, "each task of the source that learned labels, by its figures"
    ),
    "clustering": Part(
        "tessera.clustering.dec:DeepEmbeddedClustering",
        ClusteringOptions,
        "deep embedded clustering",
        "Xie et al. 2016",
    ),
}
