"""The page of the results: plain, of one file, from the JSON alone."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from benchmarks.gpu.options import Kit
from tessera.files import replace_text

Found = dict[str, Any]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
body { color: #222; background: #fff }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc } table { border-collapse: collapse; margin: 1rem 0 }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #e4e4e4; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
pre { white-space: pre-wrap; background: #f6f6f6; padding: .6rem }
.failed { color: #a00000 } .left { color: #6a5400 } .note { color: #555 }
"""


def write(kit: Kit, results: Sequence[tuple[str, Found]]) -> None:
    """Writes `index.html` beside the results.

    Args:
        results: Each step's name and what `run_all` wrote of it; empty where it has not run.
    """
    replace_text(kit.out / "index.html", render(kit.device, kit.scale, results))


def render(device: str, scale: str, results: Sequence[tuple[str, Found]]) -> str:
    """The page.

    Args:
        device, scale: As the kit was told.
    """
    by_name = dict(results)
    machine = by_name.get("machine", {}).get("found", {})
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Tessera on a GPU</title>",
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style><h1>Tessera on a GPU</h1>",
    ]
    if device == "cpu":
        parts.append(
            "<p class=left><b>No GPU: this ran on a processor, to try the way there. No figure is a GPU's.</b></p>"
        )
    if scale != "full":
        parts.append(f"<p class=left>Scale <i>{escape(scale)}</i>: sizes at which nothing is measured.</p>")
    parts += ["<h2>Steps</h2>", _steps(results), "<h2>Machine</h2>", _machine(machine), "<h2>Tests</h2>"]
    parts += [_tests(name, of) for name, of in results if name.startswith("tests ") and of]
    parts.append("<h2>Steps of a pretraining</h2>" + _PEAK)
    timed = ("steps ", "compiled steps ")
    parts += [_benchmark(name, of["found"], machine) for name, of in results if name.startswith(timed) and of]
    parts += [_processes(by_name.get("processes on one device", {})), _stacked(by_name.get("stacked trials", {}))]
    parts.append("<h2>Table 4, CIFAR-10</h2>")
    parts += [_table(of["found"]) for name, of in results if name.startswith("table 4") and of]
    return "\n".join(part for part in parts if part) + "\n"


_PEAK = (
    "<p class=note>Four tasks (jigsaw, colorization, segmentation, reconstruction), a batch of each. An image counts "
    "once for each batch it stands in. Share of the peak: operations of convolutions and matrix products, forward and "
    "backward, over those that a large product of matrices did a second on this device, in this run, at this "
    "precision.</p>"
)


def _rows(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; all but the first column are figures."""

    def line(cells: Sequence[Any], tag: str) -> str:
        shown = (f"<{tag}{' class=n' if place else ''}>{escape(str(cell))}</{tag}>" for place, cell in enumerate(cells))
        return f"<tr>{''.join(shown)}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _steps(results: Sequence[tuple[str, Found]]) -> str:
    def row(name: str, of: Found) -> tuple[str, ...]:
        if not of:
            return name, "not begun", "", "", ""
        git = of.get("git") or {}
        commit = f"{git.get('commit', '')[:8]}{' and changes' if git.get('dirty') else ''}"
        return name, of["state"], f"{of['seconds']:.0f} s", of["when"], commit

    return _rows(("step", "state", "took", "when", "commit"), (row(name, of) for name, of in results))


def _machine(found: Found) -> str:
    units = {"peak_bfloat16": "TFLOP/s", "peak_float32": "TFLOP/s", "bandwidth": "TB/s"}
    words = {
        "peak_bfloat16": "matrix product, bfloat16, measured",
        "peak_float32": "matrix product, float32, measured",
        "bandwidth": "copy in the device's memory, measured",
        "first_use_s": "first use of the device, s",
        "context_mb": "device memory of a process beside its tensors, MB (with other processes')",
    }
    rows = []
    for name, value in found.items():
        if name in ("failed", "log"):
            continue
        shown = (
            f"{value / 1e12:.4g} {units[name]}"
            if name in units
            else f"{value:.4g}"
            if isinstance(value, float)
            else value
        )
        rows.append((words.get(name, name.replace("_", " ")), shown))
    return (_rows(("what", "value"), rows) if rows else "") + _log(found)


def _tests(name: str, of: Found) -> str:
    found = of["found"]
    counts = ", ".join(f"{number} {outcome}" for outcome, number in found.get("counts", {}).items())
    parts = [f"<h3>{escape(name)}: {escape(counts or of['state'])}</h3>"]
    parts += [_failure(test, why) for test, why in found.get("failed", {}).items()]
    skipped: dict[str, int] = {}
    for why in found.get("skipped", {}).values():
        skipped[why] = skipped.get(why, 0) + 1
    parts += [f"<p class=left>{number} skipped: {escape(why)}</p>" for why, number in skipped.items()]
    told = {test: one for test, one in found.get("told", {}).items() if any(one.values())}
    parts += [f"<p class=note>{escape(_short(test))}: {escape(_of(one))}</p>" for test, one in told.items()]
    if "cut off" in found:
        parts.append(f"<p class=left>{escape(found['cut off'])}</p>")
    return "".join([*parts, _log(found)])


def _of(told: Found) -> str:
    return "; ".join(f"{name}: {value}" for name, value in told.items() if value)


def _short(test: str) -> str:
    return test.rpartition("::")[2]


def _failure(test: str, why: str) -> str:
    return f"<p class=failed><b>{escape(_short(test))}</b></p><pre>{escape(why)}</pre>"


def _log(found: Found) -> str:
    """Why a step is not done, in its words and its log's."""
    failed = found.get("failed")
    told = f"<p class=failed>{escape(failed)}</p>" if isinstance(failed, str) else ""
    return told + (f"<pre>{escape(found['log'])}</pre>" if "log" in found else "")


def _benchmark(name: str, found: Found, machine: Found) -> str:
    if "methods" not in found:
        return f"<h3>{escape(name)}</h3>{_log(found)}"
    peak, rows = machine.get(f"peak_{found['precision']}"), []
    for method, of in found["methods"].items():
        eager = of["ways"].get("eager", {}).get("seconds")
        for way, took in of["ways"].items():
            if "seconds" not in took:
                rows.append((f"{method}: {way}", took.get("skipped") or took.get("failed", ""), "", "", "", ""))
                continue
            seconds = took["seconds"]
            share = f"{100 * of['operations'] / seconds / peak:.1f} %" if peak else ""
            than = f"{eager / seconds:.2f}" if eager else ""
            rows.append(
                (
                    f"{method}: {way}",
                    f"{of['images'] / seconds:,.0f}",
                    share,
                    than,
                    f"{took['first_s']:.1f}",
                    of.get("memory_mb", "") if way == "eager" else "",
                )
            )
    head = ("way", "images/s", "share of the peak", "times as fast as eager", "first turn, s", "memory, MB")
    return f"<h3>{escape(name)}, {escape(found['precision'])}</h3>{_rows(head, rows)}{_log(found)}"


def _processes(of: Found) -> str:
    found = of.get("found", {})
    if "images_per_s" not in found:
        return _log(found)
    rows = [
        (number, f"{sum(rates):,.0f}", " + ".join(f"{rate:,.0f}" for rate in rates))
        for number, rates in found["images_per_s"].items()
    ]
    return f"<h3>Trainings at once on one device ({escape(found['case'])}, joint)</h3>" + _rows(
        ("processes", "images/s, all", "each"), rows
    )


def _stacked(of: Found) -> str:
    found = of.get("found", {})
    if "together" not in found:
        return _log(found)
    rows = [
        (way, f"{1000 * found[way]['seconds']:.2f} ms" if "seconds" in found[way] else found[way]["failed"])
        for way in ("one after the other", "together")
    ]
    return f"<h3>{found['trials']} trials' encoders, there and back ({escape(found['case'])})</h3>" + _rows(
        ("way", "a step of all"), rows
    )


def _table(found: Found) -> str:
    if "share" not in found:
        return f"<p class=left>{escape(str(found.get('cut off', '')))}</p>{_log(found)}"
    took = f"{found['seconds_of_run']:.0f} s, {sum(found['training'].values()):.0f} s of them in epochs"
    head = f"<h3>{found['share']:.2%} of the paper's steps; images: {escape(found['dataset'])}; {took}</h3>"
    if "cells" not in found:
        return head + f"<p class=left>{escape(str(found.get('cut off', '')))}</p>" + _log(found)
    rows = [(cell["row"], _percent(cell["mean"]), _percent(cell.get("published"))) for cell in found["cells"]]
    note = "<p class=note>One trial: nothing is said of noise. The paper's figures are of all its steps.</p>"
    return head + _rows(("row", "accuracy, %", "published"), rows) + note


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
