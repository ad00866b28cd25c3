"""A view of a run as lines of a terminal, or as one line of a log."""

import textwrap
import time

from rich.cells import cell_len
from rich.text import Text

from tessera.jobs import STAGES
from tessera.monitor.standing import SUMMARIZE, Standing, State
from tessera.monitor.view import View
from tessera.monitor.words import count, duration, shortened

_BAR = 20
_STYLES = {State.DONE: "green", State.RUNNING: "cyan", State.FAILED: "bold red", State.BLOCKED: "yellow"}
_WORDS = {State.BLOCKED: "blocked"}
_COLUMNS = (State.DONE, State.RUNNING, State.WAITING, State.FAILED, State.BLOCKED)


def lines(view: View, width: int, height: int = 10_000) -> list[Text]:
    """The whole picture, no line wider than `width`; what does not fit into `height` is counted."""
    top = [*_head(view, width), Text(), *_stages(view)]
    bottom = _failed(view, width, max(6, height // 3))
    room = height - len(top) - len(bottom)
    return [*top, *_running(view, width, room), *bottom]


def one_line(view: View) -> str:
    """The gist, for a log: counts, time left, and where each running job is."""
    words = [_counts(view)]
    if view.counts[State.DONE] < len(view.standings):
        words.append(_left(view))
    where = [f"{shortened(item.name, 40)} {_epochs(item)}".rstrip() for item in view.of(State.RUNNING)]
    if len(where) > 3:
        where = [*where[:3], f"{len(where) - 3} more"]
    words += [f"at work: {', '.join(where)}"] if where else []
    return f"{time.strftime('%H:%M:%S', time.localtime(view.now))} {'; '.join(words)}"


def idle(view: View, command: str) -> str:
    """What is said where nothing runs.

    Args:
        command: That starts it.
    """
    counts = view.counts
    failed = f", {counts[State.FAILED]} failed" if counts[State.FAILED] else ""
    made = f"made are {counts[State.DONE]} of {count(len(view.standings), 'job')}"
    return f"Nothing runs here: {made}{failed}. Start it with: {command}"


def failure(standing: Standing) -> str:
    """A failed job in a line, with the place of its log."""
    return f"failed: {standing.stage} {standing.name}: {standing.why} ({standing.log})"


def _head(view: View, width: int) -> list[Text]:
    clock = time.strftime("%H:%M:%S", time.localtime(view.now))
    title = shortened(", ".join(view.studies), width - len(clock) - 2)
    head = [Text.assemble((title, "bold"), " " * (width - cell_len(title) - len(clock)), (clock, "dim"))]
    head.append(_fitted(Text(_counts(view)), width))
    if view.counts[State.DONE] < len(view.standings):
        head.append(_fitted(Text(_left(view)), width))
    if devices := _devices(view):
        head.append(_fitted(Text(devices), width))
    if view.strangers:
        head.append(_fitted(Text(f"{count(view.strangers, 'job')} of other configurations at work too", "dim"), width))
    return head


def _counts(view: View) -> str:
    counts, total = view.counts, len(view.standings)
    if counts[State.DONE] == total:
        return f"all {total} jobs done"
    shown = [f"{counts[state]} {state}" for state in _COLUMNS[1:] if counts[state]]
    return ", ".join([f"{counts[State.DONE]} of {total} jobs done", *shown])


def _left(view: View) -> str:
    if not view.counts[State.RUNNING] and not view.counts[State.WAITING]:
        return "nothing left that can run"
    unknown, seconds = view.left.unknown, view.left.seconds
    idle = "" if view.counts[State.RUNNING] else "; no job at work"
    if not seconds and unknown:
        return f"time left unknown: no such job has run yet{idle}"
    text = f"about {duration(seconds)} left" if seconds >= 1 else "seconds left"
    text += f", {count(view.left.rough, 'job')} roughly guessed" if view.left.rough else ""
    return text + (f", and {count(unknown, 'job')} of unknown length" if unknown else "") + idle


def _devices(view: View) -> str:
    if not view.gpus and not view.busy:
        return ""
    names = ", ".join(sorted(name for name in view.devices.values() if name))
    of = f" of {view.gpus}" if view.gpus else ""
    return f"{count(view.busy, 'GPU')}{of} in use{': ' if names else ''}{names}"


def _stages(view: View) -> list[Text]:
    shown = [state for state in _COLUMNS if state is State.DONE or view.counts[state]]
    table = [Text(f"{'':24}" + "".join(f"{_WORDS.get(state, state):>9}" for state in shown), "dim")]
    for stage in (*STAGES, SUMMARIZE):
        mine = [standing.state for standing in view.standings if standing.stage == stage]
        if not mine:
            continue
        line = Text(f"{stage:24}")
        for state in shown:
            number = mine.count(state)
            text = f"{number}/{len(mine)}" if state is State.DONE else str(number or "")
            line.append(f"{text:>9}", _STYLES.get(state, "") if number else "dim")
        line.rstrip()
        table.append(line)
    return table


def _running(view: View, width: int, room: int) -> list[Text]:
    blocks = [_block(view, standing, width) for standing in view.of(State.RUNNING)]
    if not blocks:
        return []
    if sum(map(len, blocks)) + 2 > room:  # rather all jobs than all losses
        blocks = [block[:2] for block in blocks]
    shown: list[Text] = [Text(), Text("at work", "dim")]
    for index, block in enumerate(blocks):
        rest = len(blocks) - index
        if len(shown) + len(block) + (rest > 1) > room and rest:
            return [*shown, _fitted(Text(f"  … and {rest} more", "dim"), width)]
        shown += block
    return shown


def _block(view: View, standing: Standing, width: int) -> list[Text]:
    """A running job: its name and device; epoch, speed and time left; losses."""
    told, rest = standing.told, view.rests.get(standing.name)
    device = view.devices.get(standing.name, "")
    name = shortened(standing.name, width - len(device) - 4)
    head = Text.assemble("  ", (name, "cyan"), " " * max(2, width - 2 - cell_len(name) - len(device)), device)
    head.rstrip()
    left = f"{duration(rest)} left" if rest is not None and rest >= 1 else ""
    if told is None:
        return [head, Text("    starting", "dim")]
    since = duration(max(0.0, view.now - told.started))
    if not told.epochs:
        said = told.said if told.said not in ("", f"{standing.stage}: {standing.name}") else "at it"
        tail = ", ".join(word for word in (f"for {since}", left) if word)
        return [head, _fitted(Text(f"    {shortened(said, width - len(tail) - 6)}  {tail}"), width)]
    done = _fraction(standing, view.now)
    full = round(_BAR * done)
    bar = Text.assemble(("━" * full, "cyan"), ("─" * (_BAR - full), "dim"))
    speed = f"{told.images_per_s:,.0f} images/s" if told.images_per_s else f"for {since}"
    left = left if told.epoch < told.epochs else left or "ending"
    second = Text.assemble("    ", bar, f" {_epochs(standing)}, {speed}", f", {left}" if left else "")
    block = [head, _fitted(second, width)]
    if told.figures:
        block.append(_fitted(Text(f"    {_figures(told.figures, width - 4)}", "dim"), width))
    return block


def _fraction(standing: Standing, now: float) -> float:
    """Of the epochs, with what should be done of the present one at the last one's speed."""
    told = standing.told
    assert told is not None
    begun = min(0.95, (now - told.at) / told.epoch_s) if told.epoch_s and told.epoch < told.epochs else 0.0
    return min(1.0, (told.epoch + max(0.0, begun)) / told.epochs)


def _epochs(standing: Standing) -> str:
    told = standing.told
    return f"epoch {told.epoch}/{told.epochs}" if told is not None and told.epochs else ""


def _figures(figures: dict[str, float], width: int) -> str:
    """Losses by task, then what else there is; names get shorter until all values fit."""
    losses = {name.removesuffix(".loss"): value for name, value in figures.items() if name.endswith(".loss")}
    others = {name.replace("_", " "): value for name, value in figures.items() if not name.endswith(".loss")}
    longest = max(map(len, (*losses, *others)))
    text = ""
    for letters in range(longest, 3, -1):
        groups = [", ".join(f"{_cut(name, letters)} {group[name]:.3g}" for name in group) for group in (losses, others)]
        text = ("loss: " if losses else "") + "; ".join(group for group in groups if group)
        if len(text) <= width:
            break
    return text


def _cut(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _failed(view: View, width: int, room: int) -> list[Text]:
    failed = view.of(State.FAILED)
    shown: list[Text] = [Text(), Text("failed", "dim")] if failed else []
    for index, standing in enumerate(failed):
        block = [
            Text.assemble("  ", (shortened(f"{standing.stage}: {standing.name}", width - 2), "bold red")),
            *(Text(f"    {line}") for line in _why(standing, width - 4)),
            *(
                Text(f"    {standing.log[start : start + width - 4]}")
                for start in range(0, len(standing.log), width - 4)
            ),
        ]
        if index and len(shown) + len(block) + 1 > room:
            return [*shown, Text(f"  … and {len(failed) - index} more", "dim")]
        shown += block
    return shown


def _clock(since: float) -> str:
    moment = time.localtime(since)
    today = time.strftime("%Y%m%d", moment) == time.strftime("%Y%m%d")
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", moment)


def _why(standing: Standing, width: int) -> list[str]:
    """When and why, in two lines at most."""
    return textwrap.wrap(f"{_clock(standing.since)} {standing.why}", width, max_lines=2, placeholder="…")


def _fitted(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.rstrip()
    return text
