"""Pictures with the joints of the persons on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from reidentify.errors import InputError
from reidentify.joints import MARKET14
from reidentify.report.lists import fitted, font

COLOURS = {"right": "#ff8c1a", "left": "#1f9bff", "": "#35c46a"}
"""Of limbs and joints: the person's right, left, and those in the middle. Orange and blue differ for all eyes."""
_HEIGHT, _WIDTH, _GAP, _LINE = 320, 320, 8, 20


def skeleton(picture: NDArray[np.uint8], joints: ArrayLike, height: int = _HEIGHT, width: int = _WIDTH) -> Image.Image:
    """A picture with its joints, and a limb between two that are seen. Unseen joints are not drawn.

    Args:
        picture: H x W x 3, uint8, RGB.
        joints: 14 x 3: x, y in pixels of the picture, and visibility.
        height, width: of the box that the drawing fills without losing its proportions, in pixels.
    """
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    drawn = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    draw, thick = ImageDraw.Draw(drawn), max(2, round(height / 100))
    given = np.asarray(joints, np.float64)
    points = {
        name: ((x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5)
        for name, (x, y, seen) in zip(MARKET14.joints, given)
        if seen > 0 and np.isfinite([x, y]).all()
    }
    for a, b in MARKET14.limbs:
        if a in points and b in points:
            draw.line((*points[a], *points[b]), COLOURS[_side(b)], thick)
    for name, (x, y) in points.items():
        r = thick + 0.5
        draw.ellipse((x - r, y - r, x + r, y + r), COLOURS[_side(name)], "white")
    return drawn


def skeletons(
    pictures: Iterable[NDArray[np.uint8]],
    joints: ArrayLike,
    labels: Sequence[str],
    columns: int = 8,
    note: str = "",
) -> Image.Image:
    """Pictures with their joints side by side, a label above each, and below what the colours mean.

    Args:
        pictures: N of H x W x 3, uint8, RGB, of any size; each is taken once, and made to fit a box of 320 x 320.
        joints: N x 14 x 3: x, y in pixels of each picture, and visibility.
        labels: N.
        columns: pictures in a line; the others follow below.
        note: said beside what the colours mean.

    Raises:
        InputError: no picture, or other numbers of joints or labels.
    """
    given = np.asarray(joints)
    if not labels or given.shape != (len(labels), len(MARKET14), 3):
        shape = " x ".join(map(str, given.shape))
        raise InputError(f"pictures with joints {shape} and {len(labels)} labels cannot be drawn")
    drawn = [skeleton(picture, own) for picture, own in zip(pictures, given, strict=True)]
    width = max(one.width for one in drawn)
    lines = -(-len(drawn) // columns)
    block = _LINE + _HEIGHT + _GAP
    legend = (("right", "the person's right"), ("left", "left"), ("", "middle"))
    long = sum(font(14).getlength(text) + 40 for text in (*(text for _, text in legend), note))
    size = max(min(columns, len(drawn)) * (width + _GAP) + _GAP, round(long) + _GAP), lines * block + _LINE + 2 * _GAP
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for i, (one, label) in enumerate(zip(drawn, labels)):
        left, top = _GAP + (i % columns) * (width + _GAP), _GAP + (i // columns) * block
        draw.text((left, top), fitted(label, width, 14), "#222222", font(14))
        sheet.paste(one, (left, top + _LINE))
    at, top = float(_GAP), lines * block + _GAP
    for side, text in legend:
        draw.line((at, top + 9, at + 20, top + 9), COLOURS[side], 4)
        draw.text((at + 26, top), text, "#222222", font(14))
        at += font(14).getlength(text) + 40
    draw.text((at, top), note, "#222222", font(14))
    return sheet


def _side(name: str) -> str:
    side = name.split()[0]
    return side if side in COLOURS else ""
