"""What can be set of the way losses or gradients are weighed, a page a kind. Torch-free."""

from tessera.multitask.balancing.options.base import BalancingOptions, ComparingOptions

__all__ = ["BalancingOptions", "ComparingOptions"]  # what the options of a balancing of one's own extend
