"""Where progress bars and remarks go: standard error, so that results on standard output can be piped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def console() -> Console:
    """The one console of the process."""
    from rich.console import Console

    return Console(stderr=True)
