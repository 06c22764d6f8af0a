"""Pairs as pictures: what a network judged rightly and wrongly, and which patches of two images it matched."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from reidentify import files
from reidentify.data.pixels import decode
from reidentify.errors import InputError
from reidentify.models.pairs import NormalisedCorrelation
from reidentify.report.lists import GREEN, RED, font

if TYPE_CHECKING:
    from PIL import Image

    from reidentify.pairs import PairModel
    from reidentify.ranking.pairwise import PairScores
    from reidentify.values import Sightings

_SIZE, _GAP, _LINE = (160, 64), 12, 20
_SCALE = 3
"""Of the images among which matches are drawn."""
CELLS = (
    ("One person, taken for one (true positives)", True, True),
    ("One person, taken for two (false negatives)", True, False),
    ("Two people, taken for two (true negatives)", False, False),
    ("Two people, taken for one (false positives)", False, True),
)


def sheet(scored: PairScores, sightings: Sightings, pairs: NDArray[np.int64], count: int) -> Image.Image:
    """The most confident pairs of each cell of the confusion matrix, right ones framed in green and wrong ones in red.

    Args:
        scored: P pairs.
        sightings: the rows that these are of; of a tracklet the middle frame is shown.
        pairs: P x 2 row numbers.
        count: pairs of each cell.

    Raises:
        ImageError: a picture cannot be read.
    """
    from PIL import Image, ImageDraw

    assert sightings.files is not None
    height, width = _SIZE
    columns = min(count, max(len(scored.most_confident(same, accepted, count)) for _, same, accepted in CELLS))
    step, line = 2 * width + 3 * _GAP, height + 3 * _LINE + _GAP
    canvas = Image.new("RGB", (_GAP + max(columns * step, 420), _GAP + line * len(CELLS)), "white")
    draw = ImageDraw.Draw(canvas)
    for i, (title, same, accepted) in enumerate(CELLS):
        top = _GAP + i * line
        chosen = scored.most_confident(same, accepted, count)
        draw.text((_GAP, top), title if len(chosen) else f"{title}: none", "#222222", font(16))
        for j, pair in enumerate(chosen.tolist()):
            left, above = _GAP + j * step, top + _LINE + 4
            for k, row in enumerate(pairs[pair].tolist()):
                path = sightings.files[sightings.offsets[row] + sightings.lengths[row] // 2]
                canvas.paste(Image.fromarray(decode(path, _SIZE)), (left + k * (width + 4), above))
            frame = left - 3, above - 3, left + 2 * width + 6, above + height + 2
            draw.rectangle(frame, None, GREEN if same == accepted else RED, 3)
            draw.text((left, above + height + 6), f"{scored.scores[pair]:.3f}", "#444444", font(14))
    return canvas


def save(
    path: str | os.PathLike[str], scored: PairScores, sightings: Sightings, pairs: NDArray[np.int64], count: int
) -> Path:
    """Write `sheet` as PNG; returns the path."""
    files.write(path, png(sheet(scored, sightings, pairs, count)))
    return Path(path)


def png(image: Image.Image) -> bytes:
    """The content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class Match:
    """Two patches that the correlation layer finds alike.

    Args:
        first, second: x and y of their centres, in pixels of the images that the network sees.
        strength: their normalised correlation, averaged over the channels of the maps; 1 for equal patches.
    """

    first: tuple[float, float]
    second: tuple[float, float]
    strength: float


def matches(model: PairModel, pictures: Sequence[str | os.PathLike[str]], count: int = 12) -> list[Match]:
    """The best matches of 5 x 5 patches of the maps of two pictures, as the layer of Subramaniam et al. compares them.

    For every place of the first the best one of the second within two rows, over all columns. Negative correlations
    count as none, as in the network. Of the matches whose patches in the first overlap by more than half only the
    strongest is kept.

    Args:
        model: a network that correlates patches: of kind xcorr or fused.
        pictures: two files.
        count: matches at most.

    Returns:
        Strongest first.

    Raises:
        InputError: the network correlates none, so that these matches would not be its own.
        ImageError: a file cannot be read.
    """
    from reidentify.pairs import Encoded
    from reidentify.values import Sightings

    if not any(isinstance(module, NormalisedCorrelation) for module in model.network.modules()):
        raise InputError(
            f"{model.card.name} correlates no patches, so it matches none: give weights of kind xcorr or fused"
        )
    sightings = Sightings([0, 0], files=[os.fspath(p) for p in pictures])  # type: ignore[arg-type]
    maps = Encoded(model, sightings, cache=False, progress=False).of(np.arange(2))["maps"].float()
    channels, height, width = maps.shape[1:]
    with torch.inference_mode():
        found = NormalisedCorrelation()(maps[:1], maps[1:]).reshape(channels, -1, width, height, width)
    strength, best = found.relu().mean(0).flatten(0, 1).max(0)  # of row offset and column together
    rows = found.shape[1]
    frame = cast(Any, model.network).trunk.frame(model.size, (height, width))
    kept: list[tuple[int, int]] = []
    out: list[Match] = []
    for place in strength.flatten().argsort(descending=True, stable=True).tolist():
        y, x = divmod(place, width)
        if len(out) == count or strength[y, x] <= 0:
            break
        if any((5 - abs(y - v)) * (5 - abs(x - u)) > 12 for v, u in kept if abs(y - v) < 5 and abs(x - u) < 5):
            continue
        offset, column = divmod(int(best[y, x]), width)
        other = y + offset - rows // 2
        spots = [
            (frame.left + (u + 0.5) * frame.width / width, frame.top + (v + 0.5) * frame.height / height)
            for v, u in ((y, x), (other, column))
        ]
        out.append(Match(*spots, float(strength[y, x])))
        kept.append((y, x))
    return out


def match_sheet(
    model: PairModel, pictures: Sequence[str | os.PathLike[str]], found: Sequence[Match], title: str
) -> Image.Image:
    """Two pictures side by side, at the size that the network sees, enlarged; lines join what was matched.

    The colour of a line, and of the number at its left end, is how strong the match is.
    """
    from matplotlib import colormaps
    from PIL import Image, ImageDraw

    height, width = model.size
    left, top, between = 110, 2 * _LINE + _GAP, 90
    size = left + 2 * _SCALE * width + between + _GAP, top + _SCALE * height + 2 * _LINE + _GAP
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), title, "#222222", font(16))
    starts = left, left + _SCALE * width + between
    for start, path in zip(starts, pictures):
        picture = Image.fromarray(decode(path, model.size, model.card.preprocessing.interpolation))
        canvas.paste(picture.resize((_SCALE * width, _SCALE * height), Image.Resampling.BICUBIC), (start, top))
    strongest = max((match.strength for match in found), default=1.0)
    for match in reversed(found):  # the strongest on top
        colour = tuple(round(255 * c) for c in colormaps["plasma"](match.strength / strongest)[:3])
        ends = [(start + _SCALE * x, top + _SCALE * y) for start, (x, y) in zip(starts, (match.first, match.second))]
        for x, y in ends:
            draw.rectangle((x - 8, y - 8, x + 8, y + 8), None, colour, 2)
        draw.line(ends, colour, 2)
    for level in {match.first[1] for match in found}:  # those of one row side by side
        numbers = "  ".join(f"{match.strength:.2f}" for match in found if match.first[1] == level)
        draw.text((left - 8, top + _SCALE * level), numbers, "#444444", font(13), anchor="rm")
    notes = (
        "Centres of the patches of 5 x 5 cells that match best;",
        "numbers: their normalised correlation over all maps.",
    )
    for i, note in enumerate(notes):
        draw.text((_GAP, size[1] - (2 - i) * _LINE - _GAP // 2), note, "#444444", font(12))
    return canvas
