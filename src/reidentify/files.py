"""Files written whole or not at all, Parquet and its columns, and errors that name their file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError, StorageError

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A place beside `path` to write to, renamed to it at the end, so that a reader never meets half a file.

    The folder is made if need be.

    Raises:
        StorageError: the disk is full, or may not be written to.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written ({error.strerror or error})") from None
    finally:
        if target.parent.is_dir():
            partial.unlink(missing_ok=True)


def write(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file whole or not at all; text as UTF-8."""
    with whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def write_parquet(table: pa.Table, path: str | os.PathLike[str]) -> None:
    """Write a table whole or not at all."""
    import pyarrow.parquet as pq

    with whole(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_parquet(path: str | os.PathLike[str]) -> pa.Table:
    """Read a table.

    Raises:
        InputError: no such file, not Parquet, or two columns of one name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return distinct(file.read(), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file ({error})") from None


def distinct(table: pa.Table, path: str | os.PathLike[str]) -> pa.Table:
    """The table, whose columns must have names of their own.

    Raises:
        InputError: two have the same.
    """
    names = table.column_names
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError(f"{path}: has two columns called {name}; keep one of them")
    return table


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Puts the name of the file before what is said of its contents."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def cells(name: str, column: pa.Array, dtype: Any, lists: bool = False) -> NDArray[Any]:
    """The cells of a table's column, as N x the sizes of its fixed-size lists.

    Args:
        name: of the column.
        column: text, numbers or lists of them.
        dtype: object for text, else of numbers. Of a floating type they may be missing and become NaN.
        lists: the rows hold lists of any length, which are put end to end.

    Raises:
        InputError: something else is missing, of another type or beyond it; the column is named, and the row as
            counted from 1.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.types
    rows = np.arange(1, len(column) + 1)
    sizes: list[int] = []

    def filled(column: pa.Array) -> pa.Array:
        if column.null_count:
            row = rows[column.is_null().to_numpy(zero_copy_only=False)][0]
            raise InputError(f"column {name}: row {row} is empty; fill it in")
        return column

    while (form := str(column.type).partition("<")[0]) == "fixed_size_list" or (lists and form.endswith("list")):
        rows = np.repeat(rows, pc.list_value_length(filled(column)))
        sizes += [column.type.list_size] if form == "fixed_size_list" else []
        column = column.flatten()
    if kind.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not np.issubdtype(dtype, np.floating):
        filled(column)
    text = str(column.type) in ("string", "large_string", "string_view")
    number = kind.is_primitive(column.type) and not kind.is_temporal(column.type)
    if not (kind.is_null(column.type) or (text if dtype is object else number)):
        raise InputError(f"column {name}: expected {'text' if dtype is object else 'numbers'}, got {column.type}")
    values = np.asarray(column.to_pylist() if text else column.to_numpy(zero_copy_only=False))
    if np.issubdtype(dtype, np.integer):
        with np.errstate(invalid="ignore"):
            changed = values.astype(dtype) != values
        if changed.any():
            raise InputError(
                f"column {name}: row {rows[changed][0]}: expected whole numbers of at most 64 bits, got"
                f" {values[changed][0]}"
            )
    return values.reshape(len(column) // math.prod(sizes), *sizes)
