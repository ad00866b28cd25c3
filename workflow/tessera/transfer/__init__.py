"""Transfer: how does the source's knowledge reach the target network?"""

from tessera.registry import Part
from tessera.transfer.options import (
    CetlOptions,
    FineTuneOptions,
    FspOptions,
    NoTransferOptions,
    SoftTargetsOptions,
    SourceOnlyOptions,
    TransferOptions,
)

BASE = TransferOptions
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
    "fsp": Part("tessera.transfer.fsp:Fsp", FspOptions, "Gram matrices across layers", "Yim et al. 2017"),
    "cetl": Part(
        "tessera.transfer.cetl:Cetl", CetlOptions, "a decoder shared with the source (a stand-in)", "Chen et al. 2018"
    ),
}
