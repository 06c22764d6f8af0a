"""A picture of a street for people: frames with boxes and identities, and one person across the cameras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reidentify.errors import InputError
from reidentify.street.dance import Stage
from reidentify.street.render import opened
from reidentify.street.world import FPS, Frame, Street
from reidentify.values import Sightings

if TYPE_CHECKING:
    from PIL import Image

_INKS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (120, 140, 255))
_EDGE = {"fill": (255, 255, 255), "stroke_width": 1, "stroke_fill": (0, 0, 0)}
_GAP = 5  # pixels between tiles


def montage(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], pid: int | None = None, width: int = 1200
) -> None:
    """Write a PNG: up to six camera frames with boxes and identities, below them one person's crops in order of time.

    Args:
        folder: a rendered street.
        out: the PNG file.
        pid: the person; None: the one whom most cameras saw both by day and at dusk.
        width: pixels.

    Raises:
        InputError: the folder holds no street of this version, or nobody called `pid`.
    """
    from PIL import Image, ImageDraw

    street, seen = opened(folder), Sightings.load(Path(folder) / "sightings.parquet")
    rows = _rows_of(seen, pid)
    wide, crop_wide, count = (width - 2 * _GAP) // 3, (width - 11 * _GAP) // 12, 12
    high = wide * 9 // 16
    frames = min(6, len(street.sites))
    top = -(-frames // 3) * (high + _GAP)
    sheet = Image.new("RGB", (width, top + 2 * crop_wide), "white")
    for k in range(frames):
        picture = _labelled(_busy(street, k, dusk=k % 3 == 2), (wide, high))
        ImageDraw.Draw(picture).text((6, 4), f"camera {k + 1}", **_EDGE)
        sheet.paste(picture, (k % 3 * (wide + _GAP), k // 3 * (high + _GAP)))
    for k, row in enumerate(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]):
        with Image.open(Path(folder) / str(seen.files[row])) as crop:  # type: ignore[index]
            tile = crop.convert("RGB").resize((crop_wide, 2 * crop_wide), Image.Resampling.BICUBIC)
        ImageDraw.Draw(tile).text((4, 2), str(seen.camids[row]), **_EDGE)  # type: ignore[index]
        sheet.paste(tile, (k * (crop_wide + _GAP), top))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256, kmeans=3, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)


def _rows_of(seen: Sightings, pid: int | None) -> np.ndarray:
    """The rows of a person in order of time."""
    camids, times, light = seen.camids, seen.times, seen.attributes["light"]
    if camids is None or times is None:
        raise InputError("the sightings of a street have cameras and times; these have not")
    if pid is None:
        known = [
            (len(np.unique(light[seen.pids == p])), len(np.unique(camids[seen.pids == p])), -p) for p in seen.identities
        ]
        pid = -max(known)[2]
    rows = np.flatnonzero(seen.pids == pid)
    if not len(rows):
        raise InputError(f"nobody called {pid} was seen in this street")
    return rows[np.argsort(times[rows], kind="stable")]


def _busy(street: Street | Stage, node: int, dusk: bool) -> Frame:
    """A frame of a camera in which several people are well in view; of a stage, from the middle of a video."""
    if isinstance(street, Stage):
        return street.frame(node, sum(street.span(node)) // 2 / FPS)
    low, high = (0.62, 0.95) if dusk else (0.05, 0.42)
    times = np.round(np.linspace(low, high, 40) * street.duration * FPS) / FPS
    spans = [c for v in street.visits if v.node == node and (c := street.candidates(v))]
    busy = [sum(c[0] <= t * FPS <= c[-1] for c in spans) for t in times]
    return street.frame(node, float(times[int(np.argmax(busy))]))


def _labelled(frame: Frame, size: tuple[int, int]) -> Image.Image:
    """The frame in another size, with a box and a number for everybody well in view."""
    from PIL import Image, ImageDraw

    whole = Image.fromarray(frame.pixels)
    picture, scale = whole.resize(size, Image.Resampling.LANCZOS), size[0] / whole.width
    pen = ImageDraw.Draw(picture)
    for pid, box, visible in zip(frame.pids, frame.boxes, frame.visible):
        if visible > 0.25 and box[3] - box[1] > 50:
            ink = _INKS[int(pid) % len(_INKS)]
            x0, y0, x1, y1 = (box * scale).tolist()
            pen.rectangle((x0, y0, x1, y1), outline=ink, width=2)
            pen.text((x0 + 1, y0 - 13), str(pid), fill=ink, stroke_width=1, stroke_fill=(0, 0, 0), font_size=11)
    return picture
