"""A user's own images or tracklets: a table, a folder per identity, Market-style names, two folders; its import."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from reidentify.data import own_table
from reidentify.data.attributes import Schema
from reidentify.data.benchmark import Benchmark, queries, unsearchable
from reidentify.data.console import tracked
from reidentify.data.inspect import unreadable
from reidentify.data.own_attributes import SCHEMA, with_schema, write_schema
from reidentify.data.root import image_files, readable
from reidentify.errors import ImageError, InputError, ReidentifyWarning
from reidentify.ranking.protocol import MARKET1501, NO_CAMERAS
from reidentify.values import Sightings

TABLE = "sightings.parquet"
"""The file that `import_data` writes and that makes a folder a data set."""
IDENTITIES = "identities.csv"
"""The file beside it that tells the number of each identity that came with a name."""
SPLIT_FOLDERS = {
    "train": "train", "bounding_box_train": "train", "query": "query",
    "gallery": "gallery", "bounding_box_test": "gallery",
}  # fmt: skip
MARKET_EXTRAS = ("gt_bbox", "gt_query")
"""Folders of Market-1501 that are no part of its splits: the boxes drawn by hand, and the lists of matches."""
MARKET_NAME = re.compile(r"(-1|\d+)_c(\d+)(?:s\d+)?(?:_f?(\d+))?(?:_.*)?")
CAMERA = re.compile(r"(?:^|_)c(\d+)(?:s\d+)?(?:_|$)")
"""The camera in the name of a tracklet's folder, written as in Market-style names: c2, c2_0007, 0002_c1s1_000451."""
FORMS = (
    "a table (.csv or .parquet) with the columns path and pid, a folder of images (or of folders, one per tracklet) per"
    " identity, images with Market-style names like 0002_c1s1_000451_03.jpg, or folders train, query and gallery of"
    " such"
)


@dataclass(frozen=True)
class _Found:
    """The rows of a folder, and what their place or name says of each."""

    folder: Path
    files: list[Path]  # the frames of one row after another
    lengths: list[int]  # frames per row; 1 everywhere: images
    people: list[str]  # per row: the name of the identity's folder, or the number in a Market-style name
    named: bool  # the people are names of folders
    camids: list[int] | None = None
    frames: list[int] | None = None  # per file


def read(path: str | os.PathLike[str]) -> Benchmark:
    """Read one's own data, whatever its form.

    The forms: a table (see `reidentify.data.own_table`), or a folder that holds `sightings.parquet`, either of
    which may have attributes (see `reidentify.data.own_attributes`); a folder of images per identity, or of
    folders, one per tracklet (IDENTITY/TRACKLET/FRAME), which tell the camera if they are named like c2_0007;
    images with Market-style names, in folders IDENTITY/TRACKLET for tracklets; folders `train`, `query` and
    `gallery` (or `bounding_box_train`, `query`, `bounding_box_test`) of either. Frames are in the order of their
    names, with numbers compared as numbers. Where no split is given, one is made as `import_data` does with its
    default fraction and seed. Without cameras the protocol is NO_CAMERAS.

    Raises:
        InputError: the path does not exist, its form is none of these or is mixed with another, a tracklet has no
            frame or several cameras, a name is not valid UTF-8, or as `reidentify.data.own_table.read` and
            `reidentify.data.own_attributes.read_schema`.
    """
    sightings, _, schema = _read(_absolute(path))
    split = sightings if sightings.split is not None else split_identities(sightings)
    return _benchmark(os.fspath(path), split, schema)


def read_pair(query_dir: str | os.PathLike[str], gallery_dir: str | os.PathLike[str]) -> Benchmark:
    """Read two folders, queries and gallery, each with a folder per identity or both with Market-style names.

    An identity is the same in both if its folder (or the number in the name) is.

    Raises:
        InputError: a folder is missing, has another form, or no identity is in both.
    """
    query, gallery = _scan(_absolute(query_dir)), _scan(_absolute(gallery_dir))
    if not set(query.people) & set(gallery.people):
        raise InputError(
            f"{query.folder} and {gallery.folder}: no identity is in both (queries show {query.people[0]}, for"
            f" instance, the gallery {gallery.people[0]}); name the folders of a person alike"
        )
    sightings, _ = _number([(query, "query"), (gallery, "gallery")])
    return _benchmark(f"{query.folder.name}+{gallery.folder.name}", sightings)


def import_data(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    fraction: float = 0.5,
    seed: int = 0,
    check: bool = True,
) -> Path:
    """Make a data set of one's own data: split it by identity and write `out/sightings.parquet`.

    Paths are written relative to `out` for files inside it, so that it can be moved with them, and absolute for
    others. If identities came with names, `out/identities.csv` tells the number of each; if there are attributes,
    `out/schema.json` tells their values and whether they are of the person. A split that the source already has is
    kept. Either the whole data set is written or nothing.

    Args:
        source: any form that `read` takes.
        out: a folder without a data set, and not one that `source` reads its images from.
        fraction: share of the identities that is for training, from 0 to 1.
        seed: of the draw, 0 or above.
        check: decode every image and every frame, so that no data set is made of which training and evaluation would
            refuse one.

    Returns:
        The path of the table; `benchmark(out)` reads it.

    Raises:
        InputError: as `read` and `split_identities`; `out` holds a data set, or images of the source; an image cannot
            be read (with several: the first is named and the rest counted).
        StorageError: `out` cannot be written.
    """
    place, folder = _absolute(source), _absolute(out)
    for name in (TABLE, IDENTITIES, SCHEMA):
        if (folder / name).exists():
            raise InputError(f"{folder}: holds a data set already ({name}); give --out another folder, or delete it")
    inside = folder.is_dir() and folder.resolve().is_relative_to(place.resolve())
    if inside and image_files(folder, recursive=True):
        raise InputError(
            f"{folder}: holds images of {place}, and a data set beside them would hide those that are added later; give"
            " --out another folder"
        )
    sightings, named, schema = _read(place)
    if check:
        _require_readable(sightings, source)
    if sightings.split is None:
        sightings = split_identities(sightings, fraction, seed)
        tested = sightings[np.flatnonzero(sightings.split != "train")]
        if len(tested) and (why := unsearchable(tested)):
            warnings.warn(f"{folder} has no query: {why}", ReidentifyWarning, stacklevel=2)
    _benchmark(os.fspath(source), sightings, schema)  # what could not be read again is not written
    try:
        if named:
            own_table.write_identities(folder / IDENTITIES, named)
        if sightings.attributes:
            write_schema(folder / SCHEMA, schema)
        own_table.relocate(sightings, folder).save(folder / TABLE)
    except BaseException:
        if folder.is_dir():
            for name in (IDENTITIES, SCHEMA):  # names without a table are no data set
                (folder / name).unlink(missing_ok=True)
        raise
    return folder / TABLE


def _require_readable(sightings: Sightings, source: str | os.PathLike[str]) -> None:
    """Decode every image once, and refuse those that cannot be read."""
    assert sightings.files is not None
    files = list(dict.fromkeys(sightings.files.tolist()))
    bad = unreadable(tracked(files, len(files), "Decoding"))
    if bad:
        others, them = "", "it"
        if len(bad) > 1:
            others, them = f"; {len(bad) - 1} more cannot be read either (`reidentify data check {source}`)", "them"
        raise InputError(f"{ImageError(*bad[0])}{others}; mend {them} or leave {them} out")


def split_identities(sightings: Sightings, fraction: float = 0.5, seed: int = 0) -> Sightings:
    """Split by identity: a share of the identities trains, the others test.

    Of a tested identity one row per camera that has several becomes a query (one row in all if no camera has several,
    or cameras are unknown), as long as the gallery keeps a right answer for it: one of another camera where cameras
    are known. All other rows, junk and distractors included, are gallery.

    Args:
        fraction: share of the identities that trains, from 0 to 1.
        seed: of the draw, 0 or above.

    Raises:
        InputError: the fraction is not between 0 and 1, or the seed is negative.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"the fraction of identities for training must lie between 0 and 1, got {fraction}")
    if seed < 0:
        raise InputError(f"the seed of the split must be 0 or above, got {seed}")
    rng = np.random.default_rng(seed)
    identities = rng.permutation(sightings.identities)
    count = round(fraction * len(identities))
    split = np.full(len(sightings), "gallery", dtype=object)
    split[np.isin(sightings.pids, identities[:count])] = "train"
    for pid in np.sort(identities[count:]):
        rows = rng.permutation(np.flatnonzero(sightings.pids == pid))
        split[queries(rows, sightings.camids)] = "query"
    return sightings.replace(split=split)


def _absolute(path: str | os.PathLike[str]) -> Path:
    return readable(Path(path).expanduser().absolute())


def _benchmark(name: str, sightings: Sightings, schema: Schema = ()) -> Benchmark:
    cameras = sightings.camids is not None and bool((sightings.camids >= 0).any())
    return Benchmark(name, sightings, MARKET1501 if cameras else NO_CAMERAS, schema=schema)


def _read(place: Path) -> tuple[Sightings, dict[str, int], Schema]:
    """The sightings, the number given to each identity that came with a name (none if they came with numbers), and the
    attributes."""
    if not place.exists():
        raise InputError(f"{place}: no such file or folder")
    table = place if place.is_file() else place / TABLE
    if table.is_file():
        sightings, named, values = own_table.read(table)
        sightings, schema = with_schema(table, sightings, values)
        return sightings, named, schema
    folders = [p for p in sorted(place.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    splits = [p for p in folders if p.name in SPLIT_FOLDERS]
    if not splits:
        return (*_number([(_scan(place), None)]), ())
    others = [p for p in folders if p.name not in (*SPLIT_FOLDERS, *MARKET_EXTRAS) and image_files(p, recursive=True)]
    if strays := others + image_files(place):
        more = f" (and {len(strays) - 1} more)" if len(strays) > 1 else ""
        raise InputError(
            f"{strays[0]}{more}: would be left out beside {splits[0].name}, which is the name of a split; move it into"
            f" train, query or gallery, or rename {splits[0].name} if it is an identity"
        )
    return (*_number([(_scan(p), SPLIT_FOLDERS[p.name]) for p in splits]), ())


def _scan(folder: Path) -> _Found:
    """Recognise the form of a folder of images."""
    files = image_files(folder, recursive=True)
    if not files:
        raise InputError(f"{folder}: holds no images; expected {FORMS}")
    places = [f.relative_to(folder).parts for f in files]
    tracklets = {len(p) for p in places} == {3}
    if tracklets:
        files.sort(key=lambda f: (f.parent, own_table.natural(f.name)))
        places = [f.relative_to(folder).parts for f in files]
        _require_frames(folder, {p[:2] for p in places})
    rows = [tuple(group) for _, group in groupby(range(len(files)), lambda i: places[i][: 2 if tracklets else None])]
    lengths = [len(row) for row in rows]
    names = [MARKET_NAME.fullmatch(f.stem) for f in files]
    matches = [m for m, p in zip(names, places) if m is not None and (len(p) == 1 or p[0] == m[1])]
    if len(matches) == len(files):
        frames = [-1 if m[3] is None else int(m[3]) for m in matches]
        camids = [_single(folder, [(files[i], int(matches[i][2])) for i in row]) for row in rows]
        return _Found(folder, files, lengths, [matches[row[0]][1] for row in rows], False, camids, frames)
    loose = next((f for f, p, m in zip(files, places, names) if len(p) == 1 and m is None), None)
    loose = loose or next((f for f, p in zip(files, places) if len(p) == 1), None)
    if loose is not None:
        raise InputError(f"{loose}: neither in the folder of an identity nor named like Market-1501; expected {FORMS}")
    if not tracklets and (deep := next((f for f, p in zip(files, places) if len(p) > 2), None)) is not None:
        warnings.warn(
            f"{deep} lies in a folder inside an identity's and other images do not, so that every image counts by"
            " itself; for tracklets, put all images into IDENTITY/TRACKLET/",
            ReidentifyWarning,
            stacklevel=2,
        )
    people = [places[row[0]][0] for row in rows]
    return _Found(folder, files, lengths, people, True, _folder_cameras(folder, places, rows) if tracklets else None)


def _require_frames(folder: Path, known: set[tuple[str, ...]]) -> None:
    """Refuse a folder of a tracklet that holds no image."""
    for identity in sorted({person for person, _ in known}):
        for place in sorted(p for p in (folder / identity).iterdir() if p.is_dir() and not p.name.startswith(".")):
            if (identity, place.name) not in known:
                raise InputError(f"{place}: holds no image; a tracklet has one frame or more, so delete or fill it")


def _single(folder: Path, frames: Sequence[tuple[Path, int]]) -> int:
    """The camera that the names of all frames of a tracklet tell."""
    (first, camera), *others = frames
    for file, other in others:
        if other != camera:
            raise InputError(
                f"{file.parent}: a tracklet is of one camera, but {first.name} is of camera {camera} and {file.name} of"
                f" camera {other}; put them into different folders"
            )
    return camera


def _folder_cameras(
    folder: Path, places: Sequence[tuple[str, ...]], rows: Sequence[tuple[int, ...]]
) -> list[int] | None:
    """The cameras that the names of the tracklets' folders tell; None if none does."""
    names = ["/".join(places[row[0]][:2]) for row in rows]
    cameras = [CAMERA.search(name.partition("/")[2]) for name in names]
    if not any(cameras):
        return None
    silent = next((name for name, camera in zip(names, cameras) if camera is None), None)
    if silent is not None:
        other = next(name for name, camera in zip(names, cameras) if camera is not None)
        raise InputError(
            f"{folder / silent}: names no camera, as {other} does; name all folders of tracklets like c2_0007, or none"
        )
    return [int(camera[1]) for camera in cameras if camera is not None]


def _number(parts: Sequence[tuple[_Found, str | None]]) -> tuple[Sightings, dict[str, int]]:
    """Sightings of scanned folders, their identities numbered across all of them."""
    by_folder = [found for found, _ in parts if found.named]
    if by_folder and len(by_folder) < len(parts):
        other = next(found for found, _ in parts if not found.named)
        raise InputError(
            f"{by_folder[0].folder} has a folder per identity and {other.folder} Market-style names; use one form"
            " in both"
        )
    people = [name for found, _ in parts for name in found.people]
    # Numbers in Market-style names are kept, since -1 and 0 have a meaning there; folder names never have.
    named = own_table.number_names(people) if by_folder else {}
    sightings = []
    for found, split in parts:
        pids = [named[p] if named else int(p) for p in found.people]
        sightings.append(
            Sightings(
                np.array(pids, dtype=np.int64),
                camids=found.camids,  # type: ignore[arg-type]  # checked and converted by Sightings
                frames=found.frames,  # type: ignore[arg-type]
                files=np.array([str(f) for f in found.files], dtype=object),
                split=None if split is None else np.full(len(pids), split, dtype=object),
                offsets=np.cumsum([0, *found.lengths], dtype=np.int64),
            )
        )
    return Sightings.concat(sightings), named
