"""What the readers of video sets share: tracklets in folders, as sightings, and the matrices of MATLAB files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.data.benchmarks import layout
from reidentify.errors import InputError
from reidentify.values import Sightings


@dataclass(frozen=True)
class Tracklet:
    """The T frames of one person before one camera, in the order of time, and their numbers (T, int64)."""

    files: Sequence[Path]
    frames: NDArray[np.int64]
    pid: int
    camid: int


def rows(tracklets: Sequence[Tracklet], split: str) -> Sightings:
    """Sightings with one row per tracklet, all of one split."""
    return Sightings(
        np.array([t.pid for t in tracklets], dtype=np.int64),
        camids=np.array([t.camid for t in tracklets], dtype=np.int64),
        files=np.array([str(f) for t in tracklets for f in t.files], dtype=object),
        frames=np.concatenate([np.zeros(0, dtype=np.int64), *(t.frames for t in tracklets)]),
        split=np.full(len(tracklets), split, dtype=object),
        offsets=np.cumsum([0, *(len(t.files) for t in tracklets)], dtype=np.int64),
    )


def ordered(files: Sequence[Path], pattern: str, example: str, by: int = -1) -> tuple[list[Path], NDArray[np.int64]]:
    """Images and the numbers in their names (T x groups of `pattern`, int64), ordered by one of these.

    Raises:
        InputError: a name does not match `pattern`.
    """
    numbers = np.array([m.groups() for m in layout.parse(files, pattern, example)]).astype(np.int64)
    order = np.argsort(numbers[:, by], kind="stable")
    return [files[i] for i in order], numbers[order]


def numbered(folder: Path, pattern: str, example: str, by: int = -1) -> tuple[list[Path], NDArray[np.int64]]:
    """As `ordered`, of the images of a folder.

    Raises:
        InputError: the folder holds no image, or as `ordered`.
    """
    return ordered(layout.images(folder), pattern, example, by)


def single(values: NDArray[np.int64], what: str, files: Sequence[Path]) -> int:
    """The number that all frames of a tracklet (T) have in common.

    Raises:
        InputError: they differ; the tracklet is named by its folder.
    """
    other = np.flatnonzero(values != values[0])
    if len(other):
        raise InputError(
            f"{files[0].parent}: a tracklet shows one person before one camera, but {files[0].name} is of {what}"
            f" {values[0]} and {files[other[0]].name} of {what} {values[other[0]]}"
        )
    return int(values[0])


def folders(place: Path) -> list[Path]:
    """The folders inside `place`, sorted by name; hidden ones are left out.

    Raises:
        InputError: there are none.
    """
    found = sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not found:
        raise InputError(f"{place}: holds no folders; unpack the data set again")
    return found


def matrix(path: Path, name: str) -> NDArray[np.int64]:
    """A matrix of whole numbers in a MATLAB file, of version 7.3 (HDF5) or an earlier one. int64.

    Raises:
        InputError: the file cannot be read, has no such matrix, or one of other values.
    """
    import h5py
    from scipy.io import loadmat

    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                values = np.asarray(file[name]).T  # HDF5 keeps MATLAB's columns as rows
        else:
            values = np.asarray(loadmat(path, variable_names=[name])[name])
        if values.dtype.kind not in "uif" or not np.array_equal(values, np.round(values)):
            raise ValueError("it holds other values than whole numbers")
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise InputError(f"{path}: the matrix {name} cannot be read ({error}); get the file again") from None
    return values.astype(np.int64)


def chosen(path: Path, numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Row numbers from 0 out of a file that counts them from 1. K, int64.

    Raises:
        InputError: one of them is not from 1 to `count`, or stands there twice.
    """
    flat = numbers.ravel()
    outside = flat[(flat < 1) | (flat > count)]
    if len(outside):
        raise InputError(f"{path}: names row {outside[0]} of {count}; the files are of different releases")
    values, times = np.unique(flat, return_counts=True)
    if (times > 1).any():
        raise InputError(f"{path}: names row {values[times > 1][0]} twice")
    return flat - 1


def views(
    places: Sequence[Path], train: Sequence[str], test: Sequence[str], person: str, name: str, example: str
) -> Sightings:
    """Sightings of people who have one tracklet in each of two views, which are the cameras 1 and 2.

    Args:
        places: the folders of the views, with a folder per person.
        train: names of the people's folders for training, where both views are used.
        test: names of those that are queries in the first view and gallery in the second.
        person: pattern of the folders' names, with one group, the number of the person.
        name: pattern of the frames' names, whose last group is the number of the frame; groups before it, if any, are
            the camera and the person.
        example: a name of a frame.

    Raises:
        InputError: a folder is missing or empty, or a name is another.
    """
    parts = []
    for camera, (place, role) in enumerate(zip(places, ("query", "gallery")), start=1):
        for names, split in ((train, "train"), (test, role)):
            found = []
            for folder, match in zip(names, layout.parse([place / n for n in names], person, "person_0001")):
                files, numbers = numbered(place / folder, name, example)
                for stated, what, is_ in zip(numbers[:, :-1].T, ("camera", "person"), (camera, int(match[1]))):
                    if single(stated, what, files) != is_:
                        raise InputError(f"{files[0]}: is of {what} {stated[0]}, in the folder of {what} {is_}")
                found.append(Tracklet(files, numbers[:, -1], int(match[1]), camera))
            parts.append(rows(found, split))
    return Sightings.concat(parts)
