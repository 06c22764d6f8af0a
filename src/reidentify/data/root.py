"""Where data lies on disk: the data root, and the images of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from reidentify.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm"})
"""File name endings, in lower case, that count as images; published folders also hold things like Thumbs.db."""


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the data sets: `root`, else $REIDENTIFY_DATA, else ~/.cache/reidentify/data."""
    chosen = root or os.environ.get("REIDENTIFY_DATA") or "~/.cache/reidentify/data"
    return Path(chosen).expanduser().absolute()


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """The images of a folder, sorted by path; hidden files and folders are left out, links are followed.

    Raises:
        InputError: there is no such folder, or a name in it is not valid UTF-8.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    folders = _folders(folder) if recursive else [folder]
    found = (p for f in folders for p in f.iterdir())
    return sorted(readable(p) for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def readable(path: Path) -> Path:
    """The path, whose name must be text: neither tables nor terminals take another.

    Raises:
        InputError: it is not valid UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise InputError(f"{shown}: the name is not valid UTF-8; rename it") from None
    return path


def _folders(folder: Path) -> list[Path]:
    """A folder and all below it, each real folder once even if links lead to it in a circle."""
    found, seen = [], set()
    for place, below, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        found.append(Path(place))
        below[:] = sorted(name for name in below if not name.startswith("."))
    return found
