"""The page of what a GPU was measured to do."""

from typing import Any

from benchmarks.gpu import page


def test_the_page_tells_shares_failures_and_what_is_not_there() -> None:
    about = {"state": "done", "seconds": 1.0, "when": "today", "git": None}
    ways = {"eager": {"seconds": 2.0, "first_s": 3.0}, "CUDA graph": {"failed": "RuntimeError: <not> captured"}}
    found = {"precision": "bfloat16", "methods": {"joint": {"images": 100, "operations": 4e12, "ways": ways}}}
    cells = [{"row": "TTE, FSP", "mean": 50.0, "published": 90.43}]
    results: list[tuple[str, dict[str, Any]]] = [
        ("machine", {**about, "found": {"gpu": "A", "peak_bfloat16": 8e12}}),
        ("tests test_parts", {**about, "found": {"counts": {"failed": 1}, "failed": {"a::b": "it <broke>"}}}),
        ("steps small", {**about, "found": found}),
        ("table 4", {**about, "found": {
            "share": 0.01, "dataset": "CIFAR-10", "seconds_of_run": 9.0, "training": {"a": 4.0}, "cells": cells,
        }}),
        ("later", {}),
    ]  # fmt: skip
    told = page.render("cuda", "full", results)
    for words in ("25.0 %", ">50<", "RuntimeError: &lt;not&gt; captured", "it &lt;broke&gt;", "90.43", "not begun"):
        assert words in told
    assert "No GPU" not in told
    assert "No GPU" in page.render("cpu", "smoke", results)
