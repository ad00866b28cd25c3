"""`python -m tessera`: what would run, what runs, and what is made: in MLflow, in DVC, or no longer needed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tessera.commands import commit, finish, plan, prune, sync, watch
from tessera.commands.options import add_configuration, plan_of
from tessera.errors import TesseraError

COMMANDS = {"plan": plan, "watch": watch, "sync": sync, "commit": commit, "prune": prune, "finish": finish}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(plan_of(Path(), options), options)
    except TesseraError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tessera", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.run.__doc__)
        command.set_defaults(run=module.run)
        add_configuration(command)
        module.add_options(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
