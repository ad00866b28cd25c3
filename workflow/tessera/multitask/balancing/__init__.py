"""Balancing: how are the tasks' losses or gradients weighed?"""

from tessera.multitask.balancing.options.base import BalancingOptions
from tessera.multitask.balancing.options.gradients import (
    AlignedMtlOptions,
    CagradOptions,
    DualProjOptions,
    FairgradOptions,
    ImtlOptions,
    MgdaOptions,
    NashMtlOptions,
    PcgradOptions,
    UpgradOptions,
)
from tessera.multitask.balancing.options.lookahead import AutoLambdaOptions, GradnormOptions
from tessera.multitask.balancing.options.losses import DwaOptions, EqualOptions, RandomOptions, UncertaintyOptions
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
    "random": Part(
        "tessera.multitask.balancing.random_weights:RandomWeights",
        RandomOptions,
        "weights drawn in each step",
        "Lin et al. 2022",
    ),
    "mgda": Part(
        "tessera.multitask.balancing.mgda:MultipleGradientDescent",
        MgdaOptions,
        "the shortest convex combination of gradients",
        "Sener & Koltun 2018",
    ),
    "pcgrad": Part(
        "tessera.multitask.balancing.pcgrad:ProjectedGradients",
        PcgradOptions,
        "gradients without their conflicts with others",
        "Yu et al. 2020",
    ),
    "cagrad": Part(
        "tessera.multitask.balancing.cagrad:ConflictAverse",
        CagradOptions,
        "the best for the worst task, near the mean gradient",
        "Liu et al. 2021 (CAGrad)",
    ),
    "imtl": Part(
        "tessera.multitask.balancing.imtl:Impartial",
        ImtlOptions,
        "equal projections on all gradients, learned scales of losses",
        "Liu et al. 2021 (IMTL)",
    ),
    "nash_mtl": Part(
        "tessera.multitask.balancing.fair:NashBargaining",
        NashMtlOptions,
        "the tasks bargain over each step",
        "Navon et al. 2022",
    ),
    "aligned_mtl": Part(
        "tessera.multitask.balancing.aligned_mtl:AlignedGradients",
        AlignedMtlOptions,
        "principal components of the gradients brought to one length",
        "Senushkin et al. 2023",
    ),
    "fairgrad": Part(
        "tessera.multitask.balancing.fair:FairGradients",
        FairgradOptions,
        "alpha-fair gains of the tasks",
        "Ban & Ji 2024",
    ),
    "upgrad": Part(
        "tessera.multitask.balancing.dual_cone:UnconflictingGradients",
        UpgradOptions,
        "the mean of gradients that go against no task",
        "Quinton & Rey 2024",
    ),
    "dual_proj": Part(
        "tessera.multitask.balancing.dual_cone:ProjectedMean",
        DualProjOptions,
        "the mean gradient, going against no task",
        "Lopez-Paz & Ranzato 2017",
    ),
    "gradnorm": Part(
        "tessera.multitask.balancing.gradnorm:GradNorm",
        GradnormOptions,
        "longer gradients for tasks that learn slowly",
        "Chen, Badrinarayanan, Lee & Rabinovich 2018",
    ),
    "auto_lambda": Part(
        "tessera.multitask.balancing.auto_lambda:AutoLambda",
        AutoLambdaOptions,
        "by what the next step does for other images",
        "Liu, James, Davison & Johns 2022",
    ),
}
