"""Schedules: in which order do the tasks take steps?"""

from tessera.multitask.schedule.options import (
    BranchesOptions,
    JointOptions,
    RoundRobinOptions,
    ScheduleOptions,
    SequentialOptions,
)
from tessera.registry import Part

BASE = ScheduleOptions
PARTS = {
    "branches": Part(
        "tessera.multitask.schedule.branches:Branches", BranchesOptions, "every task from the fused weights"
    ),
    "sequential": Part(
        "tessera.multitask.schedule.sequential:Sequential", SequentialOptions, "a task goes on where the last one ended"
    ),
    "round_robin": Part("tessera.multitask.schedule.round_robin:RoundRobin", RoundRobinOptions, "one task a step"),
    "joint": Part("tessera.multitask.schedule.joint:Joint", JointOptions, "every task in every step"),
}
