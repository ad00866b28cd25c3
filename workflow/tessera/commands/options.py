"""What the commands share: the configuration that Snakemake sees with the same options, and the studies asked for."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tessera.errors import StudyError
from tessera.registry import suggest
from tessera.study.config import Config
from tessera.study.files import read_yaml
from tessera.study.plan import Plan, make_plan

DEFAULT = "config/config.yaml"


def add_configuration(command: argparse.ArgumentParser) -> None:
    """The options that say which configuration is meant."""
    command.add_argument("--configfile", action="append", help=f"as of snakemake; laid over {DEFAULT}")
    command.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as of snakemake")
    command.add_argument("--resolved", help=argparse.SUPPRESS)  # the whole configuration as JSON, from Snakemake


def add_studies(command: argparse.ArgumentParser) -> None:
    """Studies by name, as Snakemake takes them."""
    command.add_argument(
        "studies", nargs="*", default=[], metavar="STUDY", help="as of snakemake; those of the configuration otherwise"
    )


def plan_of(root: Path, options: argparse.Namespace) -> Plan:
    """The plan of the configuration that the options name."""
    shown, asked = (options.configfile or [DEFAULT])[-1], getattr(options, "studies", [])
    return make_plan(_configuration(root, options), root, shown, asked)


def default_plan(root: Path) -> Plan | None:
    """The plan of config/config.yaml as it lies there; None where it cannot be planned."""
    try:
        return make_plan(read_yaml(root / DEFAULT, DEFAULT), root)
    except StudyError:
        return None


def chosen(plan: Plan, asked: Sequence[str]) -> list[str]:
    """The studies that are meant: those asked for, else those of the configuration.

    Raises:
        StudyError: If one is not there, or cannot be planned.
    """
    known = {**plan.studies, **plan.others}
    for name in asked:
        if name in plan.failed:
            raise StudyError(plan.failed[name])
        if name not in known:
            raise StudyError(f"no study is named '{name}'. {suggest(name, known)}")
    return list(dict.fromkeys(asked or plan.studies))


def say(text: str) -> None:
    """A line for the user, at once; nobody need read it: `tessera plan | head` reads some, and what runs goes on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence()


def silence() -> None:
    """From now on nothing is written to a reader who is gone; else Python would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _configuration(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    if options.resolved is not None:
        resolved: dict[str, Any] = json.loads(options.resolved)
        return resolved
    return _merged(root, options.configfile or [], options.config)


def every_configuration(root: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What each configuration file under config/ says, with the options that are given, by its name.

    A file without a key of a configuration is none.

    Raises:
        StudyError: If one cannot be read.
    """
    given = options.configfile or []
    names = [f"config/{path.name}" for path in sorted((root / "config").glob("*.yaml"))]
    return {
        name: _merged(root, [*given, name], options.config)
        for name in names
        if name == DEFAULT or Config.model_fields.keys() & read_yaml(root / name, name).keys()
    }


def _merged(root: Path, files: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    if not (root / DEFAULT).is_file():
        raise StudyError(_no_project(root))
    merged: dict[str, Any] = {}
    for name in dict.fromkeys([DEFAULT, *files]):
        _lay_over(merged, read_yaml(root / name, name))
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise StudyError(f"--config: `{word}` should be KEY=VALUE; if it is a study, name it before `--config`")
        _lay_over(merged, {key: _parsed(value)})
    return merged


def _parsed(text: str) -> Any:
    """The value of a word of --config, as Snakemake reads it: within lists and mappings all are words."""
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    if text in ("True", "False"):
        return text == "True"
    try:
        return yaml.load(text, yaml.BaseLoader) if text else None
    except yaml.YAMLError:
        return text


def _no_project(root: Path) -> str:
    here = root.resolve()
    above = next((folder for folder in here.parents if (folder / DEFAULT).is_file()), None)
    where = f"Change to {above}" if above else f"Change to the folder of your project, which holds {DEFAULT}"
    return f"{here} is no project of Tessera: it has no {DEFAULT}. {where}, and try again."


def _lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay_over(below[key], value)
        else:
            below[key] = value
