"""Why a job would run: what of its recipe differs from the nearest artifact that is there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tessera.artifacts import code_hash
from tessera.explain.facts import Change, Lineage, changes
from tessera.explain.recipe import Recipe, Shelf, of_job
from tessera.explain.words import numbers
from tessera.jobs import Job
from tessera.study.plan import Plan

_CLOSER_LOOK = 12  # of the candidates with the fewest differing facts, those whose causes are counted


class Reason(StrEnum):
    """Why there is an artifact, or none."""

    MADE = "made"
    GONE = "gone"  # it was made, and deleted since
    DAMAGED = "damaged"
    CHANGED = "changed"  # the nearest artifact has other settings
    FIRST = "first"  # none of its stage was made


@dataclass(frozen=True)
class Why:
    """One job.

    Attributes:
        nearest: The artifact it is compared with; itself where it is made, or was.
        changes: What differs from it.
        other_code: It is made, by other code than the present of the same version.
    """

    job: Job
    reason: Reason
    nearest: Recipe | None = None
    changes: tuple[Change, ...] = ()
    other_code: bool = False


class Explainer:
    """Explains the jobs of a plan.

    Attributes:
        shelf: What is there.
        lineage: What it was made from.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.shelf = plan, Shelf(plan)
        self.lineage = Lineage(self.shelf)
        self._candidates: dict[str, list[tuple[Recipe, frozenset[tuple[str, object]]]]] = {}

    def why(self, job: Job) -> Why:
        """Whether the job's artifact is there; if not, what the nearest one differs in."""
        if (made := self.shelf.made.get(job.folder)) is not None:
            return Why(job, Reason.MADE, made, (), bool(made.code) and made.code != code_hash(job.stage))
        if (self.plan.root / job.manifest).exists():  # a manifest that cannot be read: the job itself will say so
            return Why(job, Reason.MADE)
        if self.shelf.damaged(job.folder):
            return Why(job, Reason.DAMAGED, self.shelf.remembered(job.folder))
        if (gone := self.shelf.remembered(job.folder)) is not None:
            return Why(job, Reason.GONE, gone)
        nearest, differing = self.nearest(of_job(job))
        return Why(job, Reason.FIRST) if nearest is None else Why(job, Reason.CHANGED, nearest, differing)

    def nearest(self, recipe: Recipe, among: list[Recipe] | None = None) -> tuple[Recipe | None, tuple[Change, ...]]:
        """The one with the fewest causes of difference, and these.

        Of two that are as near, the one that no study wants any more: it is what an edited setting left behind. Then
        one of the same trial, one of the same words, the latest.
        """
        if among is None:
            candidates = self._of_stage(recipe.stage)
        else:
            candidates = [(other, frozenset(self.lineage.of_recipe(other).items())) for other in among]
        facts = self.lineage.of_recipe(recipe)
        mine = frozenset(facts.items())
        rough = sorted(candidates, key=lambda item: (len(item[1] ^ mine), item[0].folder in self.plan.jobs))
        best: tuple[Recipe | None, tuple[Change, ...]] = None, ()
        best_rank: tuple[object, ...] | None = None
        for other, _ in rough[:_CLOSER_LOOK]:
            found = changes(self.lineage.of_recipe(other), facts)
            wanted, other_trial = other.folder in self.plan.jobs, other.trial != recipe.trial
            rank = (len(found), wanted, other_trial, other.words != recipe.words, _descending(other.finished))
            if best_rank is None or rank < best_rank:
                best, best_rank = (other, found), rank
        return best

    def _of_stage(self, stage: str) -> list[tuple[Recipe, frozenset[tuple[str, object]]]]:
        if stage not in self._candidates:
            recipes = self.shelf.of_stage(stage)
            self._candidates[stage] = [
                (recipe, frozenset(self.lineage.of(recipe.folder).items())) for recipe in recipes
            ]
        return self._candidates[stage]


def causes(whys: Sequence[Why]) -> list[tuple[list[Why], list[Change]]]:
    """What differs, each change once with all jobs that it is a cause of; changes of the same jobs together.

    A setting of a pretraining is a cause of everything that is made from it. Trials that are new are one change, and
    so is a dataset's option, whether it is prepared, the source's or the target's.
    """
    touched: dict[Change, list[Why]] = {}
    for why in whys:
        for change in why.changes:
            touched.setdefault(Change("trial", None, None) if change.key == "trial" else change, []).append(why)
    _join_datasets(touched)
    groups: dict[tuple[str, ...], list[Change]] = {}
    by_folder = {why.job.folder: why for why in whys}
    for change, found in touched.items():
        folders = {why.job.folder for why in found}
        key = tuple(folder for folder in by_folder if folder in folders)
        groups.setdefault(key, []).append(_trials(found) if change.key == "trial" else change)
    place = {folder: number for number, folder in enumerate(by_folder)}
    ordered = sorted(groups.items(), key=lambda item: (place[item[0][0]], -len(item[0])))
    return [([by_folder[folder] for folder in folders], told) for folders, told in ordered]


def _trials(whys: Iterable[Why]) -> Change:
    pairs = [(change.old, change.new) for why in whys for change in why.changes if change.key == "trial"]
    old, new = (numbers(trial for trial in side if trial is not None) for side in zip(*pairs, strict=True))
    return Change("trial", old or None, new or None)


def _join_datasets(touched: dict[Change, list[Why]]) -> None:
    """`dataset.copies`, `source.dataset.copies` and `target.dataset.copies` as one, where they change alike."""
    for change in [change for change in touched if change.key.split(".")[0] == "dataset"]:
        sides = [
            side for side in ("source", "target") if Change(f"{side}.{change.key}", change.old, change.new) in touched
        ]
        whys = touched.pop(change)
        for side in sides:
            whys = whys + touched.pop(Change(f"{side}.{change.key}", change.old, change.new))
        keys = [f"{side}.{change.key}" for side in sides] or [change.key]
        touched[Change("+".join(keys), change.old, change.new)] = whys


def _descending(finished: str) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in finished)
