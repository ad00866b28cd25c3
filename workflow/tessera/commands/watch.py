"""`tessera watch`."""

import argparse
import shlex
import sys
import time

from tessera.commands.options import add_studies, chosen, say, silence
from tessera.monitor.standing import State
from tessera.monitor.view import SETTLED_S, View, Watcher
from tessera.study.plan import Plan

HELP = "show a run while it goes on: jobs, epochs, losses, devices, time left"
EVERY_S = 2.0
LINE_EVERY_S = 5.0


def add_options(command: argparse.ArgumentParser) -> None:
    """Which studies, and whether to stay."""
    add_studies(command)
    command.add_argument("--once", action="store_true", help="show how it stands, and end")
    command.add_argument("--wait", action="store_true", help="wait for a run that has not begun, as long as it takes")


def run(plan: Plan, options: argparse.Namespace) -> int:
    """Shows a run while it goes on, from another terminal: jobs done, running and waiting; epoch, loss, speed and time
    left of each running job; devices in use; an estimate for the whole. It reads files alone, so it costs the run
    nothing. Give it the options that Snakemake was given. It ends with the run, or soon where nothing runs; Ctrl-C
    ends it at once. Exit code 0: all is made, or you ended it."""
    watcher = Watcher(plan, tuple(chosen(plan, options.studies)), waits=options.wait)
    try:
        if options.once:
            _show_once(watcher.view())
            return 0
        first = watcher.view()
        if not watcher.is_over(first) and watcher.is_idle(first):
            how_long = "" if options.wait else f" for {SETTLED_S:.0f} s (--wait: as long as it takes)"
            say(f"Nothing runs here yet: waiting{how_long}")
        view = _refresh(watcher) if sys.stdout.isatty() else _tell(watcher)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # whoever read the lines has seen enough
        silence()
        return 0
    if view.counts[State.DONE] == len(view.standings):
        return 0
    if watcher.is_idle(view):
        from tessera.monitor.screen import idle

        say(idle(view, _command(options)))
    return 1


def _command(options: argparse.Namespace) -> str:
    """What starts the run that is watched."""
    words = ["snakemake", "--cores", "all", *options.studies]
    for name in options.configfile or []:
        words += ["--configfile", name]
    return shlex.join([*words, *(["--config", *options.config] if options.config else [])])


def _show_once(view: View) -> None:
    from rich.console import Console

    from tessera.monitor.screen import lines

    console = Console(highlight=False, soft_wrap=True)
    with console.capture() as text:
        for line in lines(view, console.width):
            console.print(line)
    say(text.get().rstrip("\n"))  # rich ends the process where nobody reads


def _refresh(watcher: Watcher) -> View:
    """On a terminal: one picture, drawn again in its place."""
    from rich.console import Console, Group
    from rich.live import Live

    from tessera.monitor.screen import lines

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            view = watcher.view()
            live.update(Group(*lines(view, console.width, console.height - 1)), refresh=True)
            if watcher.is_over(view):
                return view
            time.sleep(EVERY_S)


def _tell(watcher: Watcher) -> View:
    """Elsewhere: a line whenever something changed, and not too many."""
    from tessera.monitor.screen import failure, one_line

    told, last, known = None, 0.0, set[str]()
    while True:
        view = watcher.view()
        over = watcher.is_over(view)
        for standing in view.of(State.FAILED):
            if standing.name not in known:
                print(failure(standing), flush=True)
        known = {standing.name for standing in view.of(State.FAILED)}
        epochs = tuple((item.name, item.told.epoch if item.told else 0) for item in view.of(State.RUNNING))
        news = (*sorted(view.counts.items()), *epochs)
        if (news != told and view.now - last >= LINE_EVERY_S) or (over and news != told):
            print(one_line(view), flush=True)
            told, last = news, view.now
        if over:
            return view
        time.sleep(EVERY_S)
