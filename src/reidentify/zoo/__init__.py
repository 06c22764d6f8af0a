"""The small default weights with their cards, shipped in the package."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the shipped weights."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def path(name: str) -> Path | None:
    """The shipped weights called `name`, or None."""
    return _FOLDER / f"{name}.safetensors" if name in names() else None
