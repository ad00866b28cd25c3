"""Transfer: how does the source's knowledge reach the target network?"""

from tessera.registry import Part
from tessera.transfer.options import TransferOptions
from tessera.transfer.options.base import FineTuneOptions, NoTransferOptions, SourceOnlyOptions
from tessera.transfer.options.combination import CombinationOptions
from tessera.transfer.options.features import (
    AttentionOptions,
    CetlOptions,
    FitNetOptions,
    FspOptions,
    JacobianOptions,
    NstOptions,
    VidOptions,
)
from tessera.transfer.options.relations import (
    CorrelationOptions,
    CrdOptions,
    PktOptions,
    RkdOptions,
    SimilarityOptions,
)
from tessera.transfer.options.soft import LearningWithoutForgettingOptions, SoftTargetsOptions

BASE = TransferOptions
SEVERAL = "combination"  # what a list of methods stands for
PARTS = {
    "none": Part("tessera.transfer.none:NoTransfer", NoTransferOptions, "target only"),
    "source_only": Part(
        "tessera.transfer.source_only:SourceOnly", SourceOnlyOptions, "the supervised source's own classifier"
    ),
    "fine_tune": Part("tessera.transfer.fine_tune:FineTune", FineTuneOptions, "the encoder itself, with a new head"),
    "soft_targets": Part(
        "tessera.transfer.soft_targets.method:SoftTargets",
        SoftTargetsOptions,
        "softened distributions",
        "Hinton et al. 2015",
    ),
    "lwf": Part(
        "tessera.transfer.lwf:LearningWithoutForgetting",
        LearningWithoutForgettingOptions,
        "fine-tuning that answers as before",
        "Li & Hoiem 2016",
    ),
    "fsp": Part("tessera.transfer.fsp:Fsp", FspOptions, "Gram matrices across layers", "Yim et al. 2017"),
    "cetl": Part(
        "tessera.transfer.cetl:Cetl", CetlOptions, "a decoder shared with the source (a stand-in)", "Chen et al. 2018"
    ),
    "attention": Part(
        "tessera.transfer.attention:Attention", AttentionOptions, "where a network looks", "Zagoruyko & Komodakis 2017"
    ),
    "nst": Part(
        "tessera.transfer.nst:Nst", NstOptions, "distributions of what channels respond to", "Huang & Wang 2017"
    ),
    "fitnet": Part("tessera.transfer.fitnet:FitNet", FitNetOptions, "a hint for a middle layer", "Romero et al. 2015"),
    "vid": Part("tessera.transfer.vid:Vid", VidOptions, "mutual information, by a Gaussian", "Ahn et al. 2019"),
    "jacobian": Part(
        "tessera.transfer.jacobian:Jacobian", JacobianOptions, "gradients by the pixels", "Srinivas & Fleuret 2018"
    ),
    "rkd": Part("tessera.transfer.rkd:Rkd", RkdOptions, "distances and angles within a batch", "Park et al. 2019"),
    "similarity": Part(
        "tessera.transfer.similarity:Similarity", SimilarityOptions, "which images are alike", "Tung & Mori 2019"
    ),
    "correlation": Part(
        "tessera.transfer.correlation:Correlation", CorrelationOptions, "a kernel within a batch", "Peng et al. 2019"
    ),
    "pkt": Part("tessera.transfer.pkt:Pkt", PktOptions, "likely neighbours within a batch", "Passalis & Tefas 2018"),
    "crd": Part("tessera.transfer.crd:Crd", CrdOptions, "contrast with a bank of all images", "Tian et al. 2020"),
    "combination": Part(
        "tessera.transfer.combination:Combination", CombinationOptions, "several at once: a list of methods"
    ),
}
