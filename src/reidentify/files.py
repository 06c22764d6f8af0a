"""Files written whole or not at all, and Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
        InputError: no such file, or not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a Parquet file ({error})") from None
