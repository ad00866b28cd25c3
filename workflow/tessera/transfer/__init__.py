"""Transfer: how does the source's knowledge reach the target network?"""

from tessera.registry import Part
from tessera.transfer.options import TransferOptions
from tessera.transfer.options.base import FineTuneOptions, NoTransferOptions, SourceOnlyOptions
from tessera.transfer.options.combination import CombinationOptions
from tessera.transfer.options.features import CetlOptions, FspOptions
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
    "combination": Part(
        "tessera.transfer.combination:Combination", CombinationOptions, "several at once: a list of methods"
    ),
}
