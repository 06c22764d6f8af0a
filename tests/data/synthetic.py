"""Tiny rendered pictures in the layouts of published data sets."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

from PIL import Image


def picture(path: Path) -> Path:
    """Write a picture of 4 x 8 pixels whose colour depends on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 8), zlib.crc32(path.name.encode()) % (1 << 24)).save(path)
    return path


def pictures(folder: Path, names: Iterable[str]) -> list[Path]:
    return [picture(folder / name) for name in names]
