"""Targets that no rule makes: told before Snakemake looks for them, with what may have been meant."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tessera.errors import StudyError, brief
from tessera.registry import suggest
from tessera.study.plan import Plan

# Options of Snakemake that take no word, and those that take one: behind them stands a target.
_ALONE = {
    "-n", "--dry-run", "--dryrun", "-p", "--printshellcmds", "-F", "--forceall", "-f", "--force", "-k", "--keep-going",
    "--rerun-incomplete", "--ri", "--nolock", "--unlock", "-t", "--touch", "--ignore-incomplete", "--ii", "--notemp",
    "--verbose", "--nocolor", "--summary", "-S", "--detailed-summary", "-D", "--use-conda", "--keep-incomplete",
}  # fmt: skip
_WITH_ONE = {
    "-c", "--cores", "-j", "--jobs", "--profile", "--workflow-profile", "-e", "--executor", "-s", "--snakefile", "-d",
    "--directory", "-T", "--retries", "-w", "--latency-wait", "--local-cores", "--scheduler", "--shadow-prefix",
}  # fmt: skip


def targets_in(words: Sequence[str]) -> list[str]:
    """The words of a command line that are targets for certain.

    Behind an option that takes any number of words, such as `--config`, nothing is certain.

    Args:
        words: Those behind `snakemake`.

    >>> targets_in(["-n", "tiny", "--cores", "2", "all", "--config", "a=b", "trials=1"])
    ['tiny', 'all']
    >>> targets_in(["--config", "a=b", "--", "tiny"])
    ['tiny']
    """
    return list(_targets(words))


def _targets(words: Sequence[str]) -> Iterator[str]:
    certain, values = True, 0
    for number, word in enumerate(words):
        if word == "--":
            yield from words[number + 1 :]
            return
        if word.startswith("-") and len(word) > 1:
            option, equals, _ = word.partition("=")
            short = not option.startswith("--") and option[:2] in _WITH_ONE and len(option) > 2  # -c2
            certain = option in _ALONE or option in _WITH_ONE or short
            values = 1 if option in _WITH_ONE and not equals else 0
        elif values:
            values -= 1
        elif certain:
            yield word


def refuse_unknown(targets: Collection[str], plan: Plan, rules: Collection[str]) -> None:
    """Refuses a target that is no rule, no study, and no file that the plan makes.

    Raises:
        StudyError: With what may have been meant.
    """
    tables = {summary.marker: name for name, summary in {**plan.studies, **plan.others}.items()}
    manifests = {job.manifest for job in plan.jobs.values()}
    for target in targets:
        word = target.removeprefix("./")
        if word in rules or word in tables or word in manifests:
            continue
        shown = brief(target)
        if match := re.fullmatch(r"results/([^/]+)/provenance-[^/]*\.json", word):
            markers = [marker for marker, name in tables.items() if name == match[1]]
            known = f"Its tables are now {markers[0]}." if markers else suggest(match[1], tables.values())
            raise StudyError(f"no study makes '{shown}'. {known}")
        if word.startswith("artifacts/"):
            full = f"{word.rstrip('/')}/artifact.json"
            hint = f"Did you mean '{full}'?" if full in manifests else "`tessera plan --jobs` lists every job."
            raise StudyError(f"no job of the studies makes '{shown}'. {hint}")
        if "/" not in word and not Path(word).exists():
            stages = [rule for rule in rules if rule.startswith("all")]
            raise StudyError(f"no such study, stage or file '{shown}'. {suggest(word, [*tables.values(), *stages])}")
