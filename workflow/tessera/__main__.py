"""What would run and why, what runs, what differs, and what is made: in MLflow, in DVC, or no longer needed."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from tessera.commands import commit, diff, finish, plan, prune, sync, watch, why
from tessera.commands.options import add_configuration, plan_of, silence
from tessera.errors import TesseraError

COMMANDS = {
    "plan": plan,
    "why": why,
    "diff": diff,
    "watch": watch,
    "sync": sync,
    "commit": commit,
    "prune": prune,
    "finish": finish,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, as `tessera` and as `python -m tessera`; returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(plan_of(Path(), options), options)
    except TesseraError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read the lines has seen enough, as `| head` does
            silence()
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tessera", description=__doc__)
    parser.add_argument("--version", action="version", version=f"tessera {_version()}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.run.__doc__)
        command.set_defaults(run=module.run)
        add_configuration(command)
        module.add_options(command)
    return parser


def _version() -> str:
    try:
        return metadata.version("tessera")
    except metadata.PackageNotFoundError:
        return "(not installed: run from its sources)"


if __name__ == "__main__":
    sys.exit(main())
