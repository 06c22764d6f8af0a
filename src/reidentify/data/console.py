"""Where progress, remarks and results go: standard output. Warnings and errors have standard error to themselves."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


@cache
def console() -> Console:
    """The one console of the process."""
    from rich.console import Console

    return Console()


def say(text: str) -> None:
    """One line, neither broken nor coloured."""
    console().print(text, highlight=False, soft_wrap=True, markup=False)


def tracked(items: Iterable[T], total: int, title: str, progress: bool = True) -> Iterable[T]:
    """`items` under a progress bar, where a person is there to see it."""
    from rich.progress import track

    return track(items, title, total, console=console(), disable=not (progress and console().is_terminal))
