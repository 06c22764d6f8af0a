"""Seconds and memory of one call, for the tables of this folder."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    """The best of a few runs: what the machine can do when nothing else disturbs it."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def memory(prepare: Callable[..., Any], call: Callable[[Any], Any], *arguments: Any) -> float:
    """Peak memory in GB that `call(prepare(*arguments))` takes above its inputs, in a process of its own (Linux)."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_measured, args=(queue, prepare, call, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{call} ended with exit code {process.exitcode}: is there enough memory?")
    return float(queue.get())


def _measured(queue: Any, prepare: Callable[..., Any], call: Callable[[Any], Any], arguments: tuple[Any, ...]) -> None:
    inputs = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _kilobytes("VmRSS")
    call(inputs)
    queue.put((_kilobytes("VmHWM") - before) / 1e6)


def _kilobytes(name: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name))
