"""Ranked lists: a query and its nearest gallery rows as pictures, matches in green and wrong answers in red."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import ImageError
from reidentify.ranking.distance import Scorer, nearest
from reidentify.ranking.matches import UNKNOWN, Matches
from reidentify.ranking.results import Result
from reidentify.values import Sightings

if TYPE_CHECKING:
    from PIL import Image, ImageFont

PICTURE = (128, 256)
"""Width and height in pixels that a picture is fitted into; its proportions are kept and nothing is cut off."""


@dataclass(frozen=True)
class Entry:
    """One picture of a ranked list.

    Args:
        picture: fitted into `PICTURE`.
        camera: "camera 3", or "" where it is unknown.
        time: "1:02:03", or "" where it is unknown.
        right: whether it shows the person of the query; None for the query itself.
        frame: "middle frame of 30", or "" where the row is a single image.
    """

    picture: Image.Image
    camera: str
    time: str
    right: bool | None = None
    frame: str = ""


@dataclass(frozen=True)
class RankedList:
    """A query and the nearest rows of its ranking list, junk left out.

    Args:
        title: which query it is and how well it did.
        query: the query.
        answers: the nearest gallery rows, nearest first.
    """

    title: str
    query: Entry
    answers: list[Entry]


def best_and_worst(result: Result, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Up to `count` queries with the highest AP and as many with the lowest; none is in both.

    Of equal AP, queries with more matches come first.
    """
    valid = np.flatnonzero(result.valid)
    best = valid[np.lexsort((valid, -result.matches[valid], -result.ap[valid]))][: min(count, (len(valid) + 1) // 2)]
    rest = np.setdiff1d(valid, best)
    return best, rest[np.lexsort((rest, -result.matches[rest], result.ap[rest]))][:count]


def ranked_lists(
    queries: NDArray[np.int64],
    result: Result,
    query: Sightings,
    gallery: Sightings,
    scorer: Scorer,
    matches: Matches,
    length: int,
) -> list[RankedList]:
    """The ranked lists of some queries, down to `length` gallery rows.

    Raises:
        ImageError: a picture is missing or cannot be read; it is named.
    """
    rows, _ = nearest(scorer, queries, len(gallery), length, matches)
    lists = []
    for q, row in zip(queries.tolist(), rows):
        first = int(result.first_rank.reshape(len(query), -1)[q].min())
        count = int(result.matches[q])
        title = (
            f"Query {q}, person {query.pids[q]}: AP {100 * result.ap[q]:.1f} %, {count} match{'es' * (count != 1)},"
            f" the first at rank {first}"
        )
        positives = set(matches.positives[q].tolist())
        answers = [_entry(gallery, g, g in positives) for g in row.tolist() if g >= 0]
        lists.append(RankedList(title, _entry(query, q), answers))
    return lists


def _entry(sightings: Sightings, row: int, right: bool | None = None) -> Entry:
    camera = UNKNOWN if sightings.camids is None else int(sightings.camids[row])
    times = sightings[[row]].row_times()
    frames = int(sightings.lengths[row])
    return Entry(
        _picture(sightings, row),
        "" if camera == UNKNOWN else f"camera {camera}",
        "" if times is None else clock(float(times[0])),
        right,
        f"middle frame of {frames}" if frames > 1 else "",
    )


def _picture(sightings: Sightings, row: int) -> Image.Image:
    """The middle frame of a row, fitted into `PICTURE`."""
    from PIL import Image, ImageOps

    assert sightings.files is not None
    path = sightings.files[sightings.offsets[row] + sightings.lengths[row] // 2]
    try:
        with Image.open(path) as image:
            return ImageOps.contain(image.convert("RGB"), PICTURE, Image.Resampling.BICUBIC)
    except FileNotFoundError:
        raise ImageError(path, "no such file; the report needs the pictures that were evaluated") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(path, str(error)) from None


def clock(seconds: float) -> str:
    """Seconds as a time that is read at a glance: 12.3 s, 2:03 or 1:02:03; nothing where they are unknown."""
    if np.isnan(seconds):
        return ""
    if abs(seconds) < 59.95:  # what rounds to 60.0 is a minute
        return f"{seconds:.1f} s"
    sign, whole = "-" * (seconds < 0), round(abs(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{sign}{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{sign}{minutes}:{whole % 60:02d}"


GREEN, RED, BLUE = "#1a8f4c", "#d03535", "#3569c4"
_FRAME, _GAP, _LINE = 5, 14, 20


def montage(lists: list[RankedList]) -> Image.Image:
    """Ranked lists as one picture: a list per line, the query on the left, framed in blue."""
    from PIL import Image, ImageDraw

    width, height = PICTURE[0] + 2 * _FRAME, PICTURE[1] + 2 * _FRAME
    columns = 1 + max(len(one.answers) for one in lists)
    tracklets = any(entry.frame for one in lists for entry in [one.query, *one.answers])
    line = 34 + height + (3 + tracklets) * _LINE + 2 * _GAP  # title, pictures, lines of words, space
    # The query stands apart from its answers by one more gap.
    canvas = Image.new("RGB", (_GAP + columns * (width + _GAP) + _GAP, _GAP + line * len(lists)), "white")
    draw = ImageDraw.Draw(canvas)
    for i, one in enumerate(lists):
        top = _GAP + i * line
        draw.text((_GAP, top), one.title, "#222222", font(20))
        for j, entry in enumerate([one.query, *one.answers]):
            left = _GAP + j * (width + _GAP) + (_GAP if j else 0)
            colour = BLUE if entry.right is None else GREEN if entry.right else RED
            box = (left, top + 34, left + width - 1, top + 34 + height - 1)
            draw.rectangle(box, "#e9e9e9", colour, _FRAME)
            picture = entry.picture
            inset = (width - picture.width) // 2, (height - picture.height) // 2
            canvas.paste(picture, (box[0] + inset[0], box[1] + inset[1]))
            words = [" ".join(mark(j, entry.right)), entry.camera, entry.time, entry.frame]
            for k, text in enumerate(filter(None, words)):
                size = 14 if text == entry.frame else 16  # the longest line, as wide as the picture
                draw.text((left, box[3] + 5 + k * _LINE), text, colour if k == 0 else "#444444", font(size))
    return canvas


def mark(place: int, right: bool | None) -> tuple[str, str]:
    """What is written at a picture, so that it does not rest on colour alone: in short, and the word to it."""
    return ("query", "") if right is None else (f"{place} ✓", "match") if right else (f"{place} ✗", "wrong")


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The sans-serif that matplotlib brings, for a machine may have no fonts of its own."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def fitted(text: str, width: int, size: int) -> str:
    """The text, its beginning left out where there is no room for it."""
    if font(size).getlength(text) <= width:
        return text
    while len(text) > 1 and font(size).getlength(f"…{text}") > width:
        text = text[1:]
    return f"…{text}"
