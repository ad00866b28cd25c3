"""What can be set of balancings that weigh losses."""

from typing import Literal

from pydantic import Field

from tessera.multitask.balancing.options.base import BalancingOptions


class EqualOptions(BalancingOptions):
    """Every loss has weight one (paper, Eq. 4)."""

    name: Literal["equal"] = "equal"
    average: bool = Field(False, description="Divide the sum of a step's losses by their number.")


class UncertaintyOptions(BalancingOptions):
    """Each loss is weighed by a noise of its task, learned with the network."""

    name: Literal["uncertainty"] = "uncertainty"
    start: float = Field(-0.5, ge=-20, le=20, description="First log sigma^2 of every task; 0: weights of a half.")
    lr_factor: float = Field(1.0, gt=0, le=1000, description="Factor on the learning rate of the noises.")


class DwaOptions(BalancingOptions):
    """Losses that fall slowly count for more, by the ratio of the last two epochs' means."""

    name: Literal["dwa"] = "dwa"
    temperature: float = Field(2.0, gt=0, description="T: the higher, the more equal; 2 in the paper.")


class RandomOptions(BalancingOptions):
    """Weights that are drawn anew in each step."""

    name: Literal["random"] = "random"
