"""What a user means by a word: a study, a row of one, a job or an artifact."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tessera.errors import StudyError
from tessera.explain.recipe import Shelf
from tessera.jobs import SummarizeStudy
from tessera.monitor.words import shortened
from tessera.study.plan import Plan

_SHOWN = 6


@dataclass(frozen=True)
class RowOf:
    """A row of a study."""

    study: SummarizeStudy
    label: str


@dataclass(frozen=True)
class Subjects:
    """The names that can be meant.

    Attributes:
        studies: Rows are looked for in these; None: in the chosen studies, then in the others.
    """

    plan: Plan
    shelf: Shelf
    studies: Sequence[str] | None = None

    @cached_property
    def summaries(self) -> dict[str, SummarizeStudy]:
        """Every study that could be planned."""
        return {**self.plan.studies, **self.plan.others}

    @cached_property
    def folders(self) -> list[str]:
        """Every job of the plan and every artifact."""
        return list(dict.fromkeys((*self.plan.jobs, *self.shelf.made)))

    def rows(self, label: str) -> list[RowOf]:
        """The rows of this label: of the studies that were named, else of the chosen ones, else of any other."""
        groups = [self.studies] if self.studies is not None else [[*self.plan.studies], [*self.plan.others]]
        for names in groups:
            found = [RowOf(self.summaries[name], label) for name in names if label in self.summaries[name].rows]
            if found:
                return found
        return []

    def job(self, word: str) -> str | None:
        """The folder of a job or artifact: its path, its name, or a part of one that no other has.

        Raises:
            StudyError: If several are called so.
        """
        wanted = word.rstrip("/").removesuffix("/artifact.json").removeprefix("./")
        if wanted in self.folders:
            return wanted
        names = {folder: folder.rpartition("/")[2] for folder in self.folders}
        exact = [folder for folder, name in names.items() if name == wanted]
        begins = [folder for folder, name in names.items() if name.startswith(wanted)]
        holds = [folder for folder in names if wanted in folder]
        for found in (exact, begins, holds):
            if len(found) == 1:
                return found[0]
            if found:
                listed = "\n".join(f"  {shortened(folder, 76)}" for folder in found[:_SHOWN])
                more = f"\n  … and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
                raise StudyError(f"'{word}' is a part of {len(found)} names. Give more of one:\n{listed}{more}")
        return None

    def unknown(self, word: str) -> StudyError:
        """What to say where nothing is called so."""
        if word in self.plan.failed:
            return StudyError(self.plan.failed[word])
        studies = self.studies if self.studies is not None else list(self.summaries)
        labels = [label for name in studies for label in self.summaries[name].rows]
        names = [folder.rpartition("/")[2] for folder in self.folders]
        near = _near(word, [*self.summaries, *labels, *names])
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Rows: {_listed(labels)}."
        return StudyError(
            f"no study, row, job or artifact is called '{word}'. {hint} (`tessera plan --jobs` lists every job.)"
        )


def _near(word: str, names: Iterable[str]) -> list[str]:
    by_lower = {name.lower(): name for name in names}
    return [f"'{by_lower[near]}'" for near in difflib.get_close_matches(word.lower(), by_lower, n=2, cutoff=0.6)]


def _listed(labels: Iterable[str]) -> str:
    names = list(dict.fromkeys(f"'{label}'" for label in labels))
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "none"
