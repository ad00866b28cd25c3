"""Balancing: how are the tasks' losses or gradients weighed?"""

from tessera.multitask.balancing.options import EqualOptions
from tessera.registry import Options, Part

BASE = Options
PARTS = {
    "equal": Part(
        "tessera.multitask.balancing.equal:Equal", EqualOptions, "weight one each", "Kim, Lee & Song 2019, Eq. 4"
    ),
}
