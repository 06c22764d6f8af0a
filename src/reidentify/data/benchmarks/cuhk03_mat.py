"""The .mat files of CUHK03: the images inside cuhk-03.mat, its test sets, and the new protocol's configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.data.benchmarks import layout
from reidentify.data.console import console
from reidentify.errors import InputError, StorageError
from reidentify.values import Sightings


def find(home: Path) -> Path | None:
    """cuhk-03.mat, in the set's folder or in cuhk03_release inside it."""
    places = (home / "cuhk-03.mat", home / "cuhk03_release" / "cuhk-03.mat")
    return next((p for p in places if p.is_file()), None)


def extract(mat: Path, boxes: str, folder: Path) -> None:
    """Write the images of one kind of boxes to `folder` as PNG, named pair_person_view_number.png.

    Each image appears under its name only when whole, and the folder gets a marker when all are there, so that an
    interrupted run is taken up where it stopped and a finished one is not repeated.

    Args:
        boxes: "labeled" or "detected".

    Raises:
        InputError: `mat` is not the published file.
        StorageError: the disk cannot take the images.
    """
    from PIL import Image
    from rich.progress import track

    done = folder / ".complete"
    if done.exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        cells = list(_cells(mat, boxes))
        for name, pixels in track(
            _pixels(mat, cells), description=f"extracting {boxes} images", total=len(cells), console=console()
        ):
            target = folder / name
            if not target.exists():
                partial = folder / f".{name}.{os.getpid()}"
                Image.fromarray(pixels).save(partial, format="PNG")
                os.replace(partial, target)
        done.touch()
    except OSError as error:
        raise StorageError(
            f"{folder}: the images of {mat.name} cannot be written ({error.strerror or error})"
        ) from None


def _open(mat: Path) -> Any:
    import h5py

    try:
        return h5py.File(mat)
    except OSError as error:
        raise InputError(f"{mat}: cannot be read as the published cuhk-03.mat ({error}); get it again") from None


def _cells(mat: Path, boxes: str) -> Iterator[tuple[str, Any]]:
    """File name and reference of every image: a row of ten cells per person, five for each view, some of them empty."""
    with _open(mat) as file:
        try:
            for pair, group in enumerate(file[boxes][0], start=1):
                people = np.asarray(file[group]).T
                for person, row in enumerate(people, start=1):
                    for number, cell in enumerate(row, start=1):
                        if file[cell].ndim == 3:  # an empty cell holds its size instead of pixels
                            yield f"{pair}_{person:03d}_{1 if number <= 5 else 2}_{number:02d}.png", cell
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise InputError(f"{mat}: not the published cuhk-03.mat ({error})") from None


def _pixels(mat: Path, cells: list[tuple[str, Any]]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    with _open(mat) as file:
        for name, cell in cells:
            try:
                pixels = np.asarray(file[cell], dtype=np.uint8)
            except OSError as error:
                raise InputError(f"{mat}: the image {name} cannot be read ({error}); get the file again") from None
            yield name, np.ascontiguousarray(pixels.T)  # MATLAB stores columns first: 3 x W x H in the file


def published_test_set(mat: Path, split: int) -> set[tuple[int, int]]:
    """(camera pair, person) of the 100 people of one published test set."""
    with _open(mat) as file:
        try:
            pairs = np.asarray(file[file["testsets"][0][split]]).T.astype(int)
            return {(int(pair), int(person)) for pair, person in pairs}
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise InputError(f"{mat}: test set {split} cannot be read ({error})") from None


def new_protocol(config: Path, files: Mapping[str, Path]) -> Sightings:
    """The rows of the 767/700 split, from its published configuration.

    Args:
        config: cuhk03_new_protocol_config_*.mat: `filelist`, `labels` (from 1), `camId` (1 or 2) and, counted from 1,
            the rows `train_idx`, `query_idx` and `gallery_idx`.
        files: the images by name.

    Raises:
        InputError: the file is not as published, or names an image that is not there.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(config)
        names = [str(cell[0]) for cell in content["filelist"].ravel()]
        labels, cameras = (content[k].ravel().astype(np.int64) for k in ("labels", "camId"))
        chosen = {s: content[f"{s}_idx"].ravel().astype(np.int64) - 1 for s in ("train", "query", "gallery")}
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise InputError(f"{config}: cannot be read as the published split ({error})") from None
    parts = []
    for split, index in chosen.items():
        absent = [names[i] for i in index if names[i] not in files]
        if absent:
            raise InputError(f"{config}: names {len(absent)} images that are not there, the first is {absent[0]}")
        parts.append(layout.rows([files[names[i]] for i in index], labels[index], cameras[index], split))
    return Sightings.concat(parts)
