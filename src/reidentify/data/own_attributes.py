"""Which attributes a user's own data has: named by the words of a table, by a schema.json beside it, or by numbers."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.data.attributes import Schema
from reidentify.errors import InputError, ReidentifyWarning
from reidentify.files import naming, write
from reidentify.hints import fits, words
from reidentify.values import DISTRACTOR, Attribute, Sightings

SCHEMA = "schema.json"
"""The file beside the Parquet of a Sightings that tells its attributes: a list of name, values and identity of each."""
_ENTRY: dict[str, Any] = {"name": str, "values": list[str], "identity": bool}


def with_schema(path: Path, sightings: Sightings, named: Mapping[str, tuple[str, ...]]) -> tuple[Sightings, Schema]:
    """Find out what the attributes of a table are.

    Values that came as words have these as names. The numbers in the Parquet of a Sightings are named by `schema.json`
    beside it, which then tells all that is used of it. Without that file, the different numbers of a column are its
    values, and name themselves; a column with fewer than two of them is not part of the schema, and a ReidentifyWarning
    names it.

    Where no file tells, an attribute is of the person if the labelled rows of each identity (pid above 0) have one
    value of it only, and else of the sighting.

    Args:
        path: of the table.
        sightings: its rows.
        named: the values of each attribute that came as words, in the order of their numbers.

    Returns:
        The sightings, whose attributes that came as numbers may be numbered anew from 0, and the schema.

    Raises:
        InputError: `schema.json` is not such a list.
    """
    beside = path.parent / SCHEMA
    if sightings.attributes and not named:
        if beside.is_file():
            return sightings, read_schema(beside)
        sightings, named = _by_number(path, sightings)
    columns = sightings.attributes
    schema = (Attribute(name, values, _of_person(sightings.pids, columns[name])) for name, values in named.items())
    return sightings, tuple(schema)


def read_schema(path: Path) -> Schema:
    """Read what `write_schema` wrote.

    Raises:
        InputError: the file cannot be read or is no such list; the entry is named.
    """
    try:
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of attributes, each with {', '.join(_ENTRY)}")
    for number, entry in enumerate(entries, start=1):
        for key, hint in _ENTRY.items():
            if not isinstance(entry, dict) or key not in entry or not fits(entry[key], hint):
                raise InputError(f"{path}: attribute {number}: {key}: expected {words(hint)}")
    names = [entry["name"] for entry in entries]
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise InputError(f"{path}: tells the attribute {twice} twice; keep one of them")
    with naming(path):
        return tuple(Attribute(entry["name"], tuple(entry["values"]), entry["identity"]) for entry in entries)


def write_schema(path: Path, schema: Schema) -> None:
    """Write the attributes as JSON, whole or not at all."""
    write(path, json.dumps([dataclasses.asdict(a) for a in schema], indent=2, ensure_ascii=False) + "\n")


def _by_number(path: Path, sightings: Sightings) -> tuple[Sightings, dict[str, tuple[str, ...]]]:
    """The sightings with the values of each attribute numbered from 0, and what they were before as their names."""
    columns, named = dict(sightings.attributes), dict[str, tuple[str, ...]]()
    for name, column in sightings.attributes.items():
        numbers = np.unique(column[column != -1])
        if len(numbers) < 2:
            found = f"only {numbers[0]}" if len(numbers) else "none"
            warnings.warn(
                f"{path}: attribute {name} is not used: an attribute has two or more different values, found {found}",
                ReidentifyWarning,
                stacklevel=2,
            )
            continue
        named[name] = tuple(str(number) for number in numbers.tolist())
        columns[name] = np.where(column == -1, -1, np.searchsorted(numbers, column))
    return sightings.replace(attributes=columns), named


def _of_person(pids: NDArray[np.int64], column: NDArray[np.int64]) -> bool:
    """Whether no identity has two values."""
    known = (pids > DISTRACTOR) & (column >= 0)
    pairs = np.unique(np.stack([pids[known], column[known]]), axis=1)
    return pairs.shape[1] == len(np.unique(pairs[0]))
