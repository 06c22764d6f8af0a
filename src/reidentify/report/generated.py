"""Generated people as pictures: who was drawn, in which pose, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from reidentify.errors import InputError
from reidentify.report.lists import fitted, font
from reidentify.report.skeleton import skeleton

Cells: TypeAlias = "NDArray[np.uint8] | Sequence[Sequence[NDArray[np.uint8] | None]]"
"""R rows of C pictures, each H x W x 3 and RGB; None leaves a cell empty."""
HEIGHT = 256
_GAP, _LINE, _INK, _GROUND = 6, 22, "#222222", 40


def grid(images: Cells, titles: Sequence[str] = (), height: int = HEIGHT) -> Image.Image:
    """Pictures in rows and columns, with a title above each column.

    Args:
        images: R x C pictures, uint8, RGB, of any sizes. Each is made `height` pixels high and keeps its proportions; a
            column is as wide as its widest picture.
        titles: C titles; empty for none. Of one that is wider than its column the beginning is left out.
        height: of a picture, in pixels.

    Raises:
        InputError: no pictures, rows of different lengths, another number of titles, or an array that is no picture.
    """
    rows = [[None if cell is None else _scaled(cell, height) for cell in row] for row in images]
    columns = len(rows[0]) if rows else 0
    if not columns or any(len(row) != columns for row in rows):
        raise InputError(f"a grid needs rows of the same number of pictures, got {[len(row) for row in rows]}")
    if len(titles) not in (0, columns):
        raise InputError(f"a grid of {columns} columns needs as many titles, got {len(titles)}")
    widths = [max((cell.width for row in rows if (cell := row[i]) is not None), default=0) for i in range(columns)]
    lefts = [_GAP + sum(widths[:i]) + i * _GAP for i in range(columns)]
    head = _GAP + _LINE * bool(titles)
    sheet = Image.new("RGB", (lefts[-1] + widths[-1] + _GAP, head + len(rows) * (height + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for left, width, title in zip(lefts, widths, titles):
        draw.text((left, _GAP), fitted(title, width, 14), _INK, font(14))
    for i, row in enumerate(rows):
        for left, cell in zip(lefts, row):
            if cell is not None:
                sheet.paste(cell, (left, head + i * (height + _GAP)))
    return sheet


def pose_picture(joints: ArrayLike, size: tuple[int, int], height: int = HEIGHT) -> NDArray[np.uint8]:
    """A pose as a skeleton on a dark ground, `height` pixels high. Unseen joints are not drawn.

    Args:
        joints: 14 x 3: x, y in pixels of a picture of `size`, and visibility.
        size: H, W of that picture.
        height: of the drawing, in pixels.

    Returns:
        height x width x 3, uint8, RGB, in the proportions of `size`.
    """
    ground = np.full((*size, 3), _GROUND, np.uint8)
    return np.asarray(skeleton(ground, joints, height, max(1, round(size[1] * height / size[0]))))


def _scaled(picture: NDArray[np.uint8], height: int) -> Image.Image:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        shape = " x ".join(map(str, picture.shape))
        raise InputError(f"a picture of a grid must be H x W x 3 uint8, got {shape} {picture.dtype}")
    image = Image.fromarray(picture)
    width = max(1, round(image.width * height / image.height))
    return image if image.height == height else image.resize((width, height), Image.Resampling.BICUBIC)
