"""Pictures with a part of them covered, to see what a network makes of people who are half hidden."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from reidentify.data.pixels import decode
from reidentify.errors import InputError
from reidentify.values import Sightings

Cover: TypeAlias = Literal["lower half", "upper half", "quarter"]
"""What is covered: half of a picture, or a box of half its height and half its width at a random place."""
GREY = (124, 116, 104)
"""What covered pixels become: the mean colour of ImageNet, which is 0 for most networks."""


def cover(sightings: Sightings, what: Cover, folder: str | os.PathLike[str], seed: int = 0) -> Sightings:
    """The same rows with a part of every frame covered.

    Args:
        sightings: rows with files. Where they have keypoints, those under the cover become unseen and the others stay:
            what a perfect pose network would tell. To have them found in the covered pictures, replace the keypoints
            of the result by None.
        what: is covered.
        folder: where the covered pictures are written, as PNG and in their own size.
        seed: of the places of random boxes; a frame's depends on its number alone.

    Returns:
        The rows with the new files.

    Raises:
        InputError: no files, or nothing of that kind can be covered.
        ImageError: a file cannot be read.
    """
    if what not in get_args(Cover):
        raise InputError(f"cover: expected {', '.join(get_args(Cover))}, got {what!r}")
    if sightings.files is None:
        raise InputError("these sightings name no files, so there is nothing to cover")
    joints = None if sightings.keypoints is None else sightings.keypoints.copy()
    files = []
    for frame, file in enumerate(sightings.files.tolist()):
        pixels = decode(file).copy()
        height, width = pixels.shape[:2]
        rows, columns = _box(what, height, width, np.random.default_rng([seed, frame]))
        pixels[rows, columns] = GREY
        if joints is not None:
            x, y = joints[frame, :, 0] + 0.5, joints[frame, :, 1] + 0.5  # from the centres of pixels to their edges
            inside = (x >= columns.start) & (x < columns.stop) & (y >= rows.start) & (y < rows.stop)
            joints[frame, inside, 2] = 0
        files.append(os.fspath(Path(folder) / f"{frame:06d}.png"))
        Image.fromarray(pixels).save(files[-1], compress_level=1)
    return sightings.replace(files=np.array(files, object), keypoints=joints)


def _box(what: Cover, height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice]:
    if what == "lower half":
        return slice(height // 2, height), slice(0, width)
    if what == "upper half":
        return slice(0, height // 2), slice(0, width)
    top, left = rng.integers(height - height // 2 + 1), rng.integers(width - width // 2 + 1)
    return slice(int(top), int(top) + height // 2), slice(int(left), int(left) + width // 2)
