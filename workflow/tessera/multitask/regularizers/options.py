"""What can be set of the regularizer that keeps the features steady."""

from typing import Annotated, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import Options


class NoRegularizerOptions(Options):
    """No regularizer."""

    name: Literal["none"] = "none"


class DivergenceOptions(Options):
    """Omega: divergence between the channel distribution of the features and a steady one (paper, Eq. 3)."""

    name: Literal["divergence"] = "divergence"
    metric: Literal[
        "kld", "reverse_kld", "jsd", "hellinger", "jeffrey", "chi2", "wasserstein", "wasserstein_values"
    ] = Field("kld", description="Distance between the distributions (paper, Table 5).")
    filter: Literal["attention", "gap", "learned"] = Field(
        "attention", description="Weighted average from feature map to vector."
    )
    normalization: Literal["softmax_std", "softmax", "l1"] = Field(
        "softmax_std", description="From vector to distribution over channels."
    )
    anchor: Literal["previous", "running_mean", "prior_uniform", "prior_gaussian"] = Field(
        "previous", description="What the distribution is compared with; `previous`: the encoder of the epoch before."
    )
    weight: float = Field(1.0, ge=0, description="Weight beside each task's loss; the paper has 1.")
    decay: float = Field(0.99, ge=0, lt=1, description="Decay of `running_mean`, a step.")
    scaled: bool = Field(False, description="`hellinger` with the factor 1/sqrt(2); `wasserstein` divided by C - 1.")
    seed: int = Field(0, ge=0, description="Seed of `prior_gaussian`.")


RegularizerPart = Annotated[Options, PartOf("regularizer")]
