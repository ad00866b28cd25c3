"""Numbers and names as a reader wants them."""

import re


def duration(seconds: float) -> str:
    """A length of time, as precise as it matters.

    >>> duration(42), duration(750), duration(12_000), duration(200_000)
    ('42 s', '12 min', '3 h 20 min', '2 d 7 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = int(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def device_time(seconds: float) -> str:
    """What devices spend: hours, where it is so much.

    >>> device_time(1_234_000), device_time(12_000), device_time(1_000)
    ('343 h', '3.3 h', '16 min')
    """
    amount = seconds / 3600
    return duration(seconds) if amount < 1 else f"{amount:,.0f} h" if amount >= 10 else f"{amount:.1f} h"


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "job"), count(2, "job")
    ('1 job', '2 jobs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def without_trial(name: str) -> str:
    """A job's name without its trial and key.

    >>> without_trial("cifar10.resnet26.tte.t0-1f2e3d4c")
    'cifar10.resnet26.tte'
    """
    return re.sub(r"\.t\d+$", "", name.rpartition("-")[0])


def shortened(name: str, width: int) -> str:
    """A name that fits: its middle goes, for its end holds trial and key.

    >>> shortened("cifar10.resnet26.tte.jig-col-seg-rcn.t0-1f2e3d4c", 30)
    'cifar10.resnet…n.t0-1f2e3d4c'
    """
    if len(name) <= width:
        return name
    tail = min(14, max(1, width // 2))
    return f"{name[: max(0, width - tail - 1)]}…{name[-tail:]}"
