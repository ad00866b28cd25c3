"""What can be set of the regularizer: what is asked of the features beside the tasks' losses."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tessera.parts import PartOf
from tessera.registry import Options


class RegularizerOptions(Options):
    """What the plan asks of every regularizer.

    Attributes:
        outside: Whether its value is added after the balancing has weighed the tasks' losses, instead of to them.
        looks_twice: Whether it asks for the gradients of a step more than once.
        needs_earlier: Whether it looks at features of an earlier encoder.
    """

    outside: ClassVar[bool] = False
    looks_twice: ClassVar[bool] = False

    @property
    def needs_earlier(self) -> bool:
        return False


class NoRegularizerOptions(RegularizerOptions):
    """No regularizer."""

    name: Literal["none"] = "none"


class DivergenceOptions(RegularizerOptions):
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

    @property
    def needs_earlier(self) -> bool:
        return self.anchor == "previous"


class DgrOptions(RegularizerOptions):
    """Norm of the gradient of untrained, frozen heads, so that the features serve any head."""

    outside: ClassVar[bool] = True

    name: Literal["dgr"] = "dgr"
    weight: float = Field(
        0.1, ge=0, description="λ, of the norm; the paper searched for it, and its grid is lost (docs/methods.md 3.2)."
    )
    dummies: int = Field(3, ge=0, le=100, description="M, frozen random heads of each task; 3 in the paper.")


class PtaOptions(RegularizerOptions):
    """Several trained heads for each task: its loss is their mean."""

    name: Literal["pta"] = "pta"
    heads: int = Field(
        4, ge=2, le=100, description="D, heads of each task, its own among them; one head is no augmentation."
    )


class SamOptions(RegularizerOptions):
    """Gradients from where the loss is worst nearby: sharpness-aware minimisation, at twice the cost."""

    looks_twice: ClassVar[bool] = True

    name: Literal["sam"] = "sam"
    rho: float = Field(0.05, ge=0, description="How far away, as a length of all weights' change; 0: no distance.")


RegularizerPart = Annotated[RegularizerOptions, PartOf("regularizer")]
