"""Reading attribute labels: tables of tracklets, tables of identities, and what most frames of a row show."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError, ReidentifyWarning
from reidentify.values import DISTRACTOR, Attribute

Columns: TypeAlias = dict[str, NDArray[np.int64]]
Schema: TypeAlias = tuple[Attribute, ...]

NO_YES = ("no", "yes")
OTHER = "other"
"""Last value of a colour that is published as one yes-or-no column per colour: none of them is "yes", or several."""
KEYS = ("identity", "camera", "tracklet")


def find(name: str, folders: Iterable[Path]) -> Path | None:
    """The first of the folders' files of that name; None if no folder has one."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def read_tracklets(
    path: Path,
    schemas: Sequence[Schema],
    pids: NDArray[np.int64],
    camids: NDArray[np.int64],
    tracklets: NDArray[np.int64],
) -> tuple[Columns, Schema]:
    """Labels of tracklets from a table with the columns identity, camera, tracklet, and then one per attribute.

    Attributes are read by position, since their headings differ between copies of the published tables; an empty cell
    is unlabelled. Rows that the table does not have are unlabelled too, and if there are identities (pids from 1) among
    them, a ReidentifyWarning says how many.

    Args:
        path: comma-separated values with one line of headings; UTF-8 or GBK.
        schemas: the layouts that this may be; their numbers of attributes differ.
        pids, camids, tracklets: N each, int64, of the rows to label.

    Returns:
        The columns by attribute, N each, int64; and the layout found.

    Raises:
        InputError: no such table or layout, an unknown value, or a tracklet with two different lines; the line is
            named.
    """
    lines = _lines(path)
    heading = lines[0][1] if lines else []
    schema = next((s for s in schemas if len(KEYS) + len(s) == len(heading)), None)
    if schema is None or heading[0].strip().isdecimal():
        expected = " or ".join(str(len(s)) for s in schemas)
        raise InputError(
            f"{path}: expected a line of headings for {', '.join(KEYS)} and {expected} attributes, got"
            f" {', '.join(heading) or 'an empty file'}"
        )
    known: dict[tuple[int, ...], list[int]] = {}
    for number, cells in lines[1:]:
        key, values = _numbers(f"{path} line {number}", cells, schema)
        if known.setdefault(key, values) != values:
            named = ", ".join(f"{name} {value}" for name, value in zip(KEYS, key))
            raise InputError(f"{path} line {number}: labels {named} a second time, and differently")
    return _columns(schema, known, np.stack([pids, camids, tracklets], axis=1), str(path)), schema


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Number and cells of every line that is not empty."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    for encoding in ("utf-8-sig", "gbk"):
        try:
            reader = csv.reader(content.decode(encoding).splitlines())
            return [(reader.line_num, cells) for cells in reader if cells]
        except UnicodeDecodeError:
            continue
    raise InputError(f"{path}: neither UTF-8 nor GBK text; save the table as UTF-8")


def _numbers(where: str, cells: list[str], schema: Schema) -> tuple[tuple[int, ...], list[int]]:
    """Key and values of a line."""
    if len(cells) != len(KEYS) + len(schema):
        raise InputError(f"{where}: has {len(cells)} cells, and the headings {len(KEYS) + len(schema)}")
    try:
        key = tuple(int(cell) for cell in cells[: len(KEYS)])
    except ValueError:
        raise InputError(f"{where}: expected the numbers of {', '.join(KEYS)}, got {cells[: len(KEYS)]}") from None
    values = []
    for attribute, cell in zip(schema, cells[len(KEYS) :]):
        value = cell.strip() or "-1"
        if value != "-1" and not (value.isdecimal() and int(value) < len(attribute.values)):
            raise InputError(
                f"{where}: {attribute.name} has the unknown value {cell!r}; expected 0 to {len(attribute.values) - 1},"
                " or nothing where unlabelled"
            )
        values.append(int(value))
    return key, values


def _columns(
    schema: Schema, known: Mapping[tuple[int, ...], Sequence[int]], wanted: NDArray[np.int64], what: str
) -> Columns:
    """The values of the wanted keys (N x K, the identity first), unlabelled where they are not known."""
    missing = [-1] * len(schema)
    table = np.array([known.get(tuple(key), missing) for key in wanted.tolist()], np.int64).reshape(-1, len(schema))
    people = [key for key in wanted.tolist() if key[0] > DISTRACTOR]
    without = [key for key in people if tuple(key) not in known]
    if without:
        first = ", ".join(f"{name} {value}" for name, value in zip(KEYS, without[0]))
        if len(without) == len(people):
            raise InputError(f"{what}: labels none of the {len(people):,} rows of identities, {first} the first")
        warnings.warn(
            f"{what} has no labels for {len(without):,} of {len(people):,} rows of identities, {first} the first; they"
            " count as unlabelled",
            ReidentifyWarning,
            stacklevel=4,
        )
    return {attribute.name: table[:, i].copy() for i, attribute in enumerate(schema)}


def read_identities(
    path: Path, struct: str, fields: Mapping[Attribute, Sequence[str]], pids: NDArray[np.int64]
) -> tuple[Columns, Schema]:
    """Labels of identities from a MATLAB file in the format of Lin et al., Pattern Recognition 2019.

    The file holds a struct with the members `train` and `test`, each of columns with an entry per identity: its number
    in `image_index`, and values from 1. A colour is published as several columns, 2 for "yes": the position of the one
    that says yes becomes the value, and the last value (`OTHER`) stands for none or several.

    Args:
        path: the file.
        struct: name of the struct.
        fields: the file's columns of each attribute: one, or one per value but the last.
        pids: N, int64, of the rows to label.

    Returns:
        The columns by attribute, N each, int64, and their schema; -1 for rows whose identity has no labels. If such an
        identity is neither junk nor a distractor, a ReidentifyWarning says for how many rows.

    Raises:
        InputError: the file is not of this format, or has a value that there is not; the identity is named.
    """
    known: dict[tuple[int, ...], list[int]] = {}
    content = _load(path)
    try:
        for part in (content[struct]["train"], content[struct]["test"]):
            found = [[int(pid)] for pid in np.atleast_1d(part["image_index"])]
            for attribute, names in fields.items():
                for row, value in zip(found, _one(path, part, attribute, names), strict=True):
                    row.append(int(value))
            known |= {(row[0],): row[1:] for row in found}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the published attributes in {struct} ({error!r})") from None
    schema = tuple(fields)
    return _columns(schema, known, pids[:, None], str(path)), schema


def _load(path: Path) -> Any:
    """The contents of a MATLAB file."""
    from scipy.io import loadmat

    try:
        return loadmat(path, simplify_cells=True)
    except Exception as error:  # SciPy's reader stumbles over a damaged file in many ways
        raise InputError(f"{path}: cannot be read as a MATLAB file ({error}); get it again") from None


def _one(path: Path, part: Mapping[str, Any], attribute: Attribute, names: Sequence[str]) -> NDArray[np.int64]:
    """The values of an attribute out of its published columns, from 0."""
    columns = np.stack([np.atleast_1d(part[name]) for name in names]).astype(np.int64)
    highest = len(attribute.values) if len(names) == 1 else 2
    wrong = np.argwhere((columns < 1) | (columns > highest))
    if len(wrong):
        column, row = wrong[0]
        pid = np.atleast_1d(part["image_index"])[row]
        raise InputError(
            f"{path}: identity {pid} has the value {columns[column, row]} of {names[column]}; expected 1 to {highest}"
        )
    if len(names) == 1:
        return columns[0] - 1
    chosen: NDArray[np.int64] = np.where((columns == 2).sum(axis=0) == 1, columns.argmax(axis=0), len(names))
    return chosen


def majority(values: NDArray[np.int64], offsets: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """What most frames of each row show.

    Args:
        values: F, int64, from 0 to `count` - 1; -1 where a frame says nothing.
        offsets: N + 1, int64: row i owns the frames `offsets[i]:offsets[i + 1]`.
        count: number of values.

    Returns:
        N, int64: the most frequent value, -1 where two are equally frequent or no frame says anything.
    """
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    votes = np.zeros((len(offsets) - 1, count), np.int64)
    np.add.at(votes, (rows[values >= 0], values[values >= 0]), 1)
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return np.where(tied, -1, votes.argmax(axis=1))
