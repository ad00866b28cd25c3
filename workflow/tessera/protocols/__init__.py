"""Protocols: how is the target measured?"""

from tessera.protocols.options import (
    ClassificationProtocolOptions,
    ClusteringOptions,
    DecisionTreeOptions,
    DetectionOptions,
    FewShotOptions,
    KnnOptions,
    LinearProbeOptions,
    ProtocolOptions,
    SvmOptions,
    TasksOptions,
    TsneOptions,
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
    "svm": Part(
        "tessera.protocols.frozen:Svm",
        SvmOptions,
        "support vector machine on frozen features",
        "Cortes & Vapnik 1995",
    ),
    "decision_tree": Part(
        "tessera.protocols.frozen:DecisionTree",
        DecisionTreeOptions,
        "decision tree on frozen features",
        "Breiman et al. 1984",
    ),
    "few_shot": Part(
        "tessera.protocols.few_shot:FewShot",
        FewShotOptions,
        "classes told from a few images each, on frozen features",
        "Vinyals et al. 2016",
    ),
    "tsne": Part(
        "tessera.protocols.tsne:Tsne",
        TsneOptions,
        "map of frozen features by t-SNE, and nearest neighbours in it",
        "van der Maaten & Hinton 2008",
    ),
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
