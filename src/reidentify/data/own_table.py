"""A user's own table of images or tracklets, as CSV or Parquet:
`path,pid[,camid][,time][,split][,tracklet[,frame]][,keypoints][,attribute.NAME]*`, or the Parquet of a Sightings."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reidentify.data.attributes import Columns, majority
from reidentify.data.root import image_files
from reidentify.errors import InputError
from reidentify.files import distinct, naming, read_parquet, write
from reidentify.joints import joint_set
from reidentify.values import JUNK, Sightings

if TYPE_CHECKING:
    import pyarrow as pa

ATTRIBUTE = "attribute."
"""What the names of the columns of attributes start with."""


def read(path: Path) -> tuple[Sightings, dict[str, int], dict[str, tuple[str, ...]]]:
    """Read a table; paths in it are relative to its folder.

    Columns: `path`, of an image, or of a folder with the frames of a tracklet, in the order of their names; `pid`,
    numbers (kept; -1 is junk and 0 a distractor) or names (numbered from 1 in sorted order); `camid`, numbers or names,
    empty where unknown; `time`, seconds or a date and time, empty where unknown; `split`, train, query or gallery;
    `tracklet`, numbers or names: rows with the same are the frames of one tracklet, in the order of the table or, where
    there is a column `frame` of whole numbers, in that order; `attribute.NAME`, words or numbers, empty or -1 where
    unlabelled. The different words of such a column, in sorted order with numbers compared as numbers, are the values
    of the attribute; that of a tracklet is the value of most of its frames, and a tie is unlabelled; `keypoints`, of
    Parquet alone: a list of x, y and visibility for each joint, or one of all these numbers, as of `Sightings`; empty
    where nothing is known. Other columns are ignored. A table with the columns of `Sightings.to_table` is read as that.

    Returns:
        The sightings; the number given to each identity that came with a name (empty if they came with numbers); and
        the values of each attribute, in the order of the numbers given to them (empty for the Parquet of a Sightings,
        whose attributes came with numbers).

    Raises:
        InputError: a column is missing, there twice or of another type, a cell that must be filled is empty, a file
            that is named does not exist, a folder holds no image, the rows of a tracklet differ in person, camera or
            split, an attribute has fewer than two different values, or joints are of another form, of a folder, or of
            an unknown set.
    """
    table = _load(path)
    if "pids" in table.column_names:
        with naming(path):
            sightings, named, values = Sightings.from_table(table), dict[str, int](), dict[str, tuple[str, ...]]()
        if sightings.files is None:
            raise InputError(f"{path}: has no column files; it has {', '.join(table.column_names)}")
        if "" in sightings.files:
            row = sightings.frame_rows()[sightings.files == ""][0] + 1
            raise InputError(f"{path}: row {row} has no files")
    else:
        sightings, named, values = _simple(path, table)
    if not len(sightings):
        raise InputError(f"{path}: has no rows")
    columns = {name: _resolved(getattr(sightings, name), path.parent) for name in ("files", "masks")}
    for files in columns.values():
        absent = [f for f in ([] if files is None else files) if f and not os.path.exists(f)]
        if absent:
            more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            raise InputError(f"{path}: names {absent[0]}{more}, which does not exist; paths are relative to the table")
    return sightings.replace(**columns), named, values


def relocate(sightings: Sightings, folder: Path) -> Sightings:
    """The same sightings with paths relative to `folder` where they lie inside it."""

    def short(file: str) -> str:
        return Path(file).relative_to(folder).as_posix() if file and Path(file).is_relative_to(folder) else file

    columns = {name: getattr(sightings, name) for name in ("files", "masks")}
    return sightings.replace(
        **{k: None if v is None else np.array([short(f) for f in v], dtype=object) for k, v in columns.items()}
    )


def number_names(names: Iterable[str]) -> dict[str, int]:
    """A number from 1 for each distinct name, in sorted order with numbers inside names compared as numbers."""

    return {name: number for number, name in enumerate(sorted(set(names), key=natural), start=1)}


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """What names are sorted by so that numbers inside them count as numbers: 2 before 10."""
    return [(int(digits or -1), text) for text, digits in re.findall(r"(\D*)(\d*)", name)], name


def write_identities(path: Path, named: dict[str, int]) -> None:
    """Write the number of each named identity, whole or not at all."""
    text = io.StringIO()
    csv.writer(text).writerows([("pid", "name"), *((number, name) for name, number in named.items())])
    write(path, text.getvalue())


def _load(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    if path.suffix.lower() == ".parquet":
        return read_parquet(path)
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path}: expected a table with the ending .csv or .parquet, or a folder")
    try:
        table = distinct(arrow_csv.read_csv(path), path)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a table ({str(error).splitlines()[0]})") from None
    for name in table.column_names:
        if pa.types.is_binary(table[name].type):  # what Arrow makes of text in another encoding
            raise InputError(f"{path}: column {name} is not text in UTF-8; save the table as UTF-8")
    return table


def _simple(path: Path, table: pa.Table) -> tuple[Sightings, dict[str, int], dict[str, tuple[str, ...]]]:
    found = ", ".join(table.column_names)
    for name in ("path", "pid"):
        if name not in table.column_names:
            raise InputError(f"{path}: expected the columns path and pid, but there is no {name}; it has {found}")
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    for name in ("path", "pid", "split", "tracklet", "frame") if "tracklet" in columns else ("path", "pid", "split"):
        for row, value in enumerate(columns[name].to_pylist() if name in columns else (), start=1):
            if not _text(value):
                raise InputError(f"{path}: row {row} has no {name}")
    pids, named = _labels(path, "pid", columns["pid"])
    if (pids < JUNK).any():
        raise InputError(f"{path}: a pid must be -1 (junk), 0 (distractor) or above, found {pids.min()}")
    attributes, values = _attributes(path, columns)
    rows = Sightings(
        pids,
        camids=_labels(path, "camid", columns["camid"])[0] if "camid" in columns else None,
        times=_seconds(path, columns["time"]) if "time" in columns else None,
        files=np.array([str(f) for f in columns["path"].to_pylist()], dtype=object),
        split=_texts(columns["split"]) if "split" in columns else None,
        attributes=attributes,
        keypoints=_keypoints(path, columns["keypoints"]) if "keypoints" in columns else None,
    )
    return (_gathered(path, rows, columns) if "tracklet" in columns else _opened(path, rows)), named, values


def _gathered(path: Path, rows: Sightings, columns: Mapping[str, Any]) -> Sightings:
    """Rows of a table that name the same tracklet as one row."""
    cells = {name: [_text(v) for v in column.to_pylist()] for name, column in columns.items()}
    names = cells["tracklet"]
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        before = first.setdefault(name, row)
        for column in [c for c in ("pid", "camid", "split") if c in cells]:
            here, there = (cells[column][i] or "nothing" for i in (row, before))
            if here != there:
                raise InputError(
                    f"{path}: row {row + 1}: tracklet {name} has {column} {here} here and {there} in row {before + 1};"
                    " a tracklet shows one person before one camera, in one split"
                )
        assert rows.files is not None
        if (path.parent / rows.files[row]).is_dir():
            raise InputError(
                f"{path}: row {row + 1}: {rows.files[row]} is a folder; with a column tracklet, a row is one frame"
            )
    numbers = {name: number for number, name in enumerate(first)}
    labels = np.array([numbers[name] for name in names])
    frames = None
    if "frame" in columns:
        frames, named = _labels(path, "frame", columns["frame"])
        if named:
            raise InputError(f"{path}: column frame: expected whole numbers, got {next(iter(named))!r}")
    order = np.lexsort((np.arange(len(names)) if frames is None else frames, labels))
    whole = rows[np.array(list(first.values()))]
    flat = rows.replace(frames=frames)[order]
    offsets = np.cumsum([0, *np.bincount(labels)])
    attributes = {k: majority(v, offsets, int(v.max()) + 1) for k, v in flat.attributes.items()}
    frame_columns = {name: getattr(flat, name) for name in ("files", "times", "frames", "keypoints")}
    return whole.replace(**frame_columns, attributes=attributes, offsets=offsets)


def _opened(path: Path, rows: Sightings) -> Sightings:
    """Rows of a table, the frames of a folder in place of the folder."""
    assert rows.files is not None
    files = []
    for row, file in enumerate(rows.files, start=1):
        place = path.parent / file
        frames = sorted(image_files(place), key=lambda f: natural(f.name)) if place.is_dir() else [place]
        if not frames:
            raise InputError(f"{path}: row {row}: the folder {file} holds no image; a tracklet has one frame or more")
        if place.is_dir() and rows.keypoints is not None and not np.isnan(rows.keypoints[row - 1]).all():
            raise InputError(
                f"{path}: row {row}: {file} is a folder, and joints are of one picture; give its frames a row each,"
                " with a column tracklet"
            )
        files.append([str(f) for f in frames])
    lengths = [len(frames) for frames in files]
    times = None if rows.times is None else np.repeat(rows.times, lengths)
    keypoints = None if rows.keypoints is None else np.repeat(rows.keypoints, lengths, axis=0)
    flat = np.array([f for frames in files for f in frames], dtype=object)
    return rows.replace(files=flat, times=times, keypoints=keypoints, offsets=np.cumsum([0, *lengths]))


def _keypoints(path: Path, column: Any) -> NDArray[np.float32] | None:
    """The joints of every row, N x J x 3, NaN where a cell is empty; None where all are."""
    found: list[NDArray[np.float32] | None] = []
    for row, cell in enumerate(column.to_pylist(), start=1):
        try:
            found.append(None if cell is None else np.array(cell, np.float32).reshape(-1, 3))
        except (TypeError, ValueError):
            raise InputError(
                f"{path}: row {row}, column keypoints: expected a list of x, y and visibility of every joint, which"
                f" takes a Parquet file, got {str(cell)[:60]}"
            ) from None
    counts = {len(joints): row for row, joints in reversed([*enumerate(found, start=1)]) if joints is not None}
    if not counts:
        return None
    if len(counts) > 1:
        (row, a), (other, b) = sorted((row, count) for count, row in counts.items())[:2]
        raise InputError(
            f"{path}: column keypoints: row {row} has {a} joints and row {other} has {b}; give all the same"
        )
    (count,) = counts
    with naming(path):
        joint_set(count)
    return np.stack([np.full((count, 3), np.nan, np.float32) if joints is None else joints for joints in found])


def _attributes(path: Path, columns: Mapping[str, Any]) -> tuple[Columns, dict[str, tuple[str, ...]]]:
    """The columns of attributes by name: numbers from 0, -1 where unlabelled; and the values that they stand for."""
    numbers, values = Columns(), dict[str, tuple[str, ...]]()
    for column in (c for c in columns if c.startswith(ATTRIBUTE)):
        name = column.removeprefix(ATTRIBUTE)
        if not name.strip():
            raise InputError(f"{path}: column {column}: names no attribute; call it {ATTRIBUTE}hat, for instance")
        cells = [_value(path, row, column, value) for row, value in enumerate(columns[column].to_pylist(), start=1)]
        named = number_names(cell for cell in cells if cell)
        if len(named) < 2:
            raise InputError(
                f"{path}: column {column}: an attribute has two or more different values, found"
                f" {f'only {next(iter(named))}' if named else 'none'}; fill the column in, or leave it out"
            )
        numbers[name] = np.array([named.get(cell, 0) - 1 for cell in cells], dtype=np.int64)
        values[name] = tuple(named)
    return numbers, values


def _value(path: Path, row: int, column: str, value: Any) -> str:
    """A cell of an attribute as a word; empty where unlabelled."""
    if value is not None and not isinstance(value, (str, int, float)):
        raise InputError(f"{path}: row {row}, column {column}: expected a word or a number, got {value}")
    if isinstance(value, float):  # what a table makes of whole numbers among which some are missing
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    text = str(value).lower() if isinstance(value, bool) else _text(value)
    return "" if text == "-1" else text


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _texts(column: Any) -> NDArray[np.object_]:
    return np.array([_text(v).lower() for v in column.to_pylist()], dtype=object)


def _labels(path: Path, name: str, column: Any) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Numbers as they are, or names numbered; -1 where empty. And the numbers given to names."""
    import pyarrow as pa

    kind = pa.types
    if kind.is_null(column.type):
        return np.full(len(column), -1, dtype=np.int64), {}
    values = column.to_pylist()
    if kind.is_integer(column.type) or kind.is_floating(column.type):
        for row, value in enumerate(values, start=1):
            if value is not None and not (float(value).is_integer() and -(2**63) <= value < 2**63):
                raise InputError(
                    f"{path}: row {row}, column {name}: expected whole numbers or names (numbers of at most 64 bits),"
                    f" got {value}"
                )
        return np.array([-1 if v is None else int(v) for v in values], dtype=np.int64), {}
    if kind.is_dictionary(column.type) or kind.is_string(column.type) or kind.is_large_string(column.type):
        texts = [_text(v) for v in values]
        named = number_names(t for t in texts if t)
        return np.array([named.get(t, -1) for t in texts], dtype=np.int64), named
    raise InputError(f"{path}: column {name}: expected whole numbers or names, got {column.type}")


def _seconds(path: Path, column: Any) -> NDArray[np.float64]:
    """Seconds as they are, or those since 1970 of a date and time; NaN where empty."""
    import pyarrow as pa

    kind = pa.types
    if kind.is_timestamp(column.type):
        micros = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64()).to_pylist()
        return np.array([np.nan if v is None else v / 1e6 for v in micros], dtype=np.float64)
    if kind.is_integer(column.type) or kind.is_floating(column.type) or kind.is_null(column.type):
        return np.array([np.nan if v is None else v for v in column.to_pylist()], dtype=np.float64)
    raise InputError(
        f"{path}: column time: expected seconds or a date and time like 2024-05-01 12:00:00, got {column.type}"
    )


def _resolved(files: NDArray[np.object_] | None, folder: Path) -> NDArray[np.object_] | None:
    if files is None:
        return None
    # An empty path is "unknown" (a mask that a row does not have) and stays so.
    return np.array([str(folder / f) if f else f for f in files], dtype=object)
