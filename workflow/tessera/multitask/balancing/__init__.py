"""Balancing: how are the tasks' losses or gradients weighed?"""

from tessera.multitask.balancing.options.base import BalancingOptions
from tessera.multitask.balancing.options.losses import DwaOptions, EqualOptions, UncertaintyOptions
from tessera.registry import Part

BASE = BalancingOptions
PARTS = {
    "equal": Part(
        "tessera.multitask.balancing.equal:Equal", EqualOptions, "weight one each", "Kim, Lee & Song 2019, Eq. 4"
    ),
    "uncertainty": Part(
        "tessera.multitask.balancing.uncertainty:Uncertainty",
        UncertaintyOptions,
        "a learned noise a task",
        "Kendall, Gal & Cipolla 2018",
    ),
    "dwa": Part(
        "tessera.multitask.balancing.dwa:DynamicWeightAverage",
        DwaOptions,
        "by how fast each loss falls",
        "Liu, Johns & Davison 2019",
    ),
}
