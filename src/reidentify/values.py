"""The few values that flow through the package without torch: Sightings with their attributes, and Embeddings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError
from reidentify.files import cells, naming, read_parquet, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

Index: TypeAlias = "slice | Sequence[int] | NDArray[Any]"

JUNK = -1
"""`pids` value of a box that is neither right nor wrong: it is ignored in ranking and never trained on."""
DISTRACTOR = 0
"""`pids` value of a person (or background) outside the identities: a wrong answer for every query."""
ROUNDING = 1e-6
"""Seconds by which two lengths of time may differ and still be equal: many times are frame numbers divided by a rate,
so that of two differences of the same number of frames one may come out above, and the other below, what both are."""


@dataclass(frozen=True)
class Attribute:
    """One thing that is said of people or of sightings of them, with the values that it can have.

    Args:
        name: of the column in `Sightings.attributes`.
        values: names of the values 0, 1, 2, ...
        identity: True: of the person, as the colour of a coat ("identity-relevant"); False: of the sighting, as the
            direction of walking ("identity-irrelevant").

    Raises:
        InputError: fewer than two values, or two of one name.
    """

    name: str
    values: tuple[str, ...]
    identity: bool = True

    def __post_init__(self) -> None:
        if len(self.values) < 2 or len(set(self.values)) < len(self.values):
            raise InputError(f"attribute {self.name}: expected two or more different values, got {self.values}")


def _chosen(index: Index, count: int) -> NDArray[np.int64]:
    """Row numbers out of a mask, a slice or integers."""
    rows = np.arange(count)
    if isinstance(index, slice):
        return rows[index]
    array = np.asarray(index)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "bui"):
        raise InputError(f"rows: expected a mask, a slice or a list of integers, got {index!r}")
    return rows[array] if array.size else rows[:0]


def _column(name: str, values: ArrayLike | None, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any] | None:
    """`values` as a contiguous array of `dtype`, or InputError naming the expected and the actual shape."""
    if values is None:
        return None
    try:
        array = np.asarray(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name}: expected values of type {np.dtype(dtype)}: {error}") from None
    if array.ndim != len(shape) or any(want is not None and want != got for want, got in zip(shape, array.shape)):
        expected = " x ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"{name}: expected shape {expected}, got {' x '.join(map(str, array.shape)) or 'a scalar'}")
    return np.ascontiguousarray(array)


@dataclass(frozen=True, eq=False)
class Sightings:
    """Who was seen where and when: one row per image or tracklet. An image is a tracklet of one frame.

    Row columns have N entries, frame columns F; `offsets` says which frames are a row's: row i owns the frames
    `offsets[i]:offsets[i + 1]`. Optional columns are None where nothing is known.

    Args:
        pids: N, int64. The identity; `JUNK` (-1) and `DISTRACTOR` (0) are reserved.
        camids: N, int64. The camera; -1 where unknown (two unknown cameras are never taken to be the same).
        times: F, float64, seconds on the camera's or the network's clock; NaN where unknown.
        files: F, str. Paths of the frames.
        split: N, str: "train", "query" or "gallery".
        attributes: named row columns of N entries each; integers, -1 where unlabelled.
        frames: F, int64. Frame numbers as published; -1 where unknown.
        boxes: F x 4, float32. x0, y0, x1, y1 in pixels of the full frame.
        keypoints: F x J x 3, float32. x, y in pixels of the file, and visibility from 0 (unseen) to 1; NaN where it is
            unknown, as in all of a frame whose joints nobody looked for.
        masks: F, str. Paths of the person masks.
        sources: N, str. The data set a row comes from, when several are joined.
        offsets: N + 1, int64, rising from 0 to F. None: every row is one image.

    Raises:
        InputError: a column has another length, shape or type than stated.
    """

    pids: NDArray[np.int64]
    camids: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None
    files: NDArray[np.object_] | None = None
    split: NDArray[np.object_] | None = None
    attributes: Mapping[str, NDArray[np.int64]] = dataclasses.field(default_factory=dict)
    frames: NDArray[np.int64] | None = None
    boxes: NDArray[np.float32] | None = None
    keypoints: NDArray[np.float32] | None = None
    masks: NDArray[np.object_] | None = None
    sources: NDArray[np.object_] | None = None
    offsets: NDArray[np.int64] = None  # type: ignore[assignment]  # always an array once built

    ROWS: ClassVar[dict[str, Any]] = {"pids": np.int64, "camids": np.int64, "split": object, "sources": object}
    FRAMES: ClassVar[dict[str, Any]] = {
        "times": np.float64, "files": object, "frames": np.int64, "boxes": np.float32, "keypoints": np.float32,
        "masks": object,
    }  # fmt: skip
    _INNER: ClassVar[dict[str, tuple[int | None, ...]]] = {"boxes": (4,), "keypoints": (None, 3)}

    def __post_init__(self) -> None:
        pids = _column("pids", self.pids, np.int64, (None,))
        assert pids is not None
        n = len(pids)
        offsets = _column("offsets", self.offsets, np.int64, (n + 1,))
        if offsets is None:
            offsets = np.arange(n + 1, dtype=np.int64)
        if offsets[0] != 0 or (np.diff(offsets) < 1).any():
            raise InputError("offsets: expected to start at 0 and rise by at least 1, so that every row has a frame")
        set_ = object.__setattr__
        set_(self, "offsets", offsets)
        for name, dtype in self.ROWS.items():
            set_(self, name, _column(name, getattr(self, name), dtype, (n,)))
        frames = int(offsets[-1])
        for name, dtype in self.FRAMES.items():
            shape = (frames, *self._INNER.get(name, ()))
            set_(self, name, _column(name, getattr(self, name), dtype, shape))
        set_(self, "attributes", {k: _column(f"attribute {k}", v, np.int64, (n,)) for k, v in self.attributes.items()})

    def __len__(self) -> int:
        return len(self.pids)

    def __repr__(self) -> str:
        cameras = "unknown" if self.camids is None else str(len(np.unique(self.camids)))
        frames = "" if self.is_images else f", {int(self.offsets[-1])} frames"
        return f"Sightings({len(self)} rows{frames}, {len(self.identities)} identities, cameras: {cameras})"

    @property
    def is_images(self) -> bool:
        """True when every row is a single image."""
        return int(self.offsets[-1]) == len(self)

    @property
    def identities(self) -> NDArray[np.int64]:
        """The distinct identities, sorted, without junk and distractors. K, int64."""
        return np.unique(self.pids[self.pids > DISTRACTOR])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames per row. N, int64."""
        return np.diff(self.offsets)

    def frame_rows(self) -> NDArray[np.int64]:
        """The row each frame belongs to. F, int64."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def row_times(self) -> NDArray[np.float64] | None:
        """The middle time of each row in seconds: the mean of its first and last frame's, NaN where either is unknown.

        N, float64, or None.
        """
        if self.times is None:
            return None
        first, last = self.times[self.offsets[:-1]], self.times[self.offsets[1:] - 1]
        return (first + last) / 2

    def __getitem__(self, index: Index) -> Sightings:
        """The rows chosen by a mask, a slice or integers, with their frames."""
        rows = _chosen(index, len(self))
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        taken = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        columns: dict[str, Any] = {k: v[rows] for k in self.ROWS if (v := getattr(self, k)) is not None}
        columns |= {k: v[taken] for k in self.FRAMES if (v := getattr(self, k)) is not None}
        return Sightings(**columns, attributes={k: v[rows] for k, v in self.attributes.items()}, offsets=offsets)

    def replace(self, **columns: Any) -> Sightings:
        """A copy with some columns exchanged."""
        return dataclasses.replace(self, **columns)

    def images(self) -> Sightings:
        """Every frame as a row of its own, with the row columns of its tracklet."""
        rows = self.frame_rows()
        columns: dict[str, Any] = {k: v[rows] for k in self.ROWS if (v := getattr(self, k)) is not None}
        attributes = {k: v[rows] for k, v in self.attributes.items()}
        return self.replace(**columns, attributes=attributes, offsets=None)

    @staticmethod
    def concat(parts: Sequence[Sightings]) -> Sightings:
        """The rows of `parts` one after another. A column that only some parts have is filled with "unknown"."""
        unknown = {"camids": -1, "times": np.nan, "frames": -1, "boxes": np.nan, "keypoints": np.nan}

        def join(name: str, size: Any) -> NDArray[Any] | None:
            have = [getattr(p, name) for p in parts]
            some = next((c for c in have if c is not None), None)
            if some is None:
                return None
            if any(c is not None and c.shape[1:] != some.shape[1:] for c in have):
                raise InputError(f"{name}: the parts to join have different shapes")
            fill = unknown.get(name, "")
            return np.concatenate(
                [np.full((size(p), *some.shape[1:]), fill, some.dtype) if c is None else c for p, c in zip(parts, have)]
            )

        if not parts:
            raise InputError("nothing to join: no sightings were given")
        columns = {name: join(name, len) for name in Sightings.ROWS}
        columns |= {name: join(name, lambda p: int(p.offsets[-1])) for name in Sightings.FRAMES}
        names = dict.fromkeys(k for p in parts for k in p.attributes)
        attributes = {k: np.concatenate([p.attributes.get(k, np.full(len(p), -1)) for p in parts]) for k in names}
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([p.lengths for p in parts]))])
        return Sightings(**columns, attributes=attributes, offsets=offsets)  # type: ignore[arg-type]

    def to_table(self) -> pa.Table:
        """As an Arrow table, one row per sighting; the frame columns are lists where rows are tracklets."""
        import pyarrow as pa

        def array(values: NDArray[Any]) -> pa.Array:
            flat = pa.array(values.reshape(-1).tolist() if values.dtype == object else values.reshape(-1))
            for size in reversed(values.shape[1:]):
                flat = pa.FixedSizeListArray.from_arrays(flat, size)
            return flat

        columns = {k: array(v) for k in self.ROWS if (v := getattr(self, k)) is not None}
        columns |= {f"attribute.{k}": array(v) for k, v in self.attributes.items()}
        for name in self.FRAMES:
            if (values := getattr(self, name)) is not None:
                flat = array(values)
                columns[name] = flat if self.is_images else pa.ListArray.from_arrays(pa.array(self.offsets), flat)
        if not self.is_images:
            columns["length"] = array(self.lengths)
        return pa.table(columns)

    @staticmethod
    def from_table(table: pa.Table) -> Sightings:
        """The inverse of `to_table`. Columns that are not of a Sightings are left out.

        Raises:
            InputError: there is no column pids, or a column has another type or an empty row; the row is named.
        """
        tracklets = "length" in table.column_names

        def array(name: str) -> NDArray[Any]:
            dtype = {**Sightings.ROWS, **Sightings.FRAMES}.get(name, np.int64)
            return cells(name, table[name].combine_chunks(), dtype, tracklets and name in Sightings.FRAMES)

        if "pids" not in table.column_names:
            raise InputError(f"a table of sightings needs a column pids; it has {', '.join(table.column_names)}")
        names = [k for k in table.column_names if k in Sightings.ROWS or k in Sightings.FRAMES]
        attributes = {k.removeprefix("attribute."): array(k) for k in table.column_names if k.startswith("attribute.")}
        offsets = np.concatenate([[0], np.cumsum(array("length"))]) if tracklets else None
        return Sightings(**{k: array(k) for k in names}, attributes=attributes, offsets=offsets)  # type: ignore[arg-type]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write Parquet."""
        write_parquet(self.to_table(), path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Sightings:
        """Read Parquet written by `save`.

        Raises:
            InputError: no such file, not Parquet, or as `from_table`.
        """
        table = read_parquet(path)
        with naming(path):
            return Sightings.from_table(table)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a network says of each sighting.

    Args:
        vectors: N x D, float32, finite.
        sightings: the N rows they belong to.
        visibility: N x P, float32, from 0 to 1: how much of each of P body parts is seen, where the vectors are those
            of the parts side by side, D / P numbers each. Part 0 is the whole picture. Two rows are then compared by
            the parts that both show (`ranking.parts`). None: a vector describes its row as a whole.

    Raises:
        InputError: another number of rows, a vector with NaN or infinity (its row is named), or a visibility outside 0
            to 1 or of a number of parts that does not divide D.
    """

    vectors: NDArray[np.float32]
    sightings: Sightings
    visibility: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        vectors = _column("vectors", self.vectors, np.float32, (len(self.sightings), None))
        assert vectors is not None
        bad = ~np.isfinite(vectors).all(axis=1)
        if bad.any():
            row = int(np.argmax(bad))
            files = self.sightings.files
            where = "" if files is None else f" ({files[self.sightings.offsets[row]]})"
            raise InputError(f"vectors: {int(bad.sum())} rows hold NaN or infinity, the first is row {row}{where}")
        object.__setattr__(self, "vectors", vectors)
        visibility = _column("visibility", self.visibility, np.float32, (len(self.sightings), None))
        if visibility is not None:
            parts = visibility.shape[1]
            if not parts or vectors.shape[1] % parts:
                raise InputError(
                    f"visibility: vectors of {vectors.shape[1]} numbers are not {parts} parts side by side"
                )
            if not ((visibility >= 0) & (visibility <= 1)).all():
                raise InputError("visibility: expected numbers from 0 (unseen) to 1")
        object.__setattr__(self, "visibility", visibility)

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        parts = "" if self.visibility is None else f" in {self.visibility.shape[1]} parts"
        return f"Embeddings({len(self)} x {self.vectors.shape[1]}{parts}, {self.sightings!r})"

    def __getitem__(self, index: Index) -> Embeddings:
        """The rows chosen by a mask, a slice or integers."""
        rows = _chosen(index, len(self))
        visibility = None if self.visibility is None else self.visibility[rows]
        return Embeddings(self.vectors[rows], self.sightings[rows], visibility)

    @staticmethod
    def concat(parts: Sequence[Embeddings]) -> Embeddings:
        """The rows of `parts` one after another; InputError if their widths or their body parts differ."""
        if len({part.vectors.shape[1] for part in parts}) > 1:
            widths = ", ".join(str(part.vectors.shape[1]) for part in parts)
            raise InputError(f"vectors of different widths cannot be joined: {widths}")
        visible = [part.visibility for part in parts if part.visibility is not None]
        if len(visible) not in (0, len(parts)) or len({one.shape[1] for one in visible}) > 1:
            raise InputError("embeddings of different body parts, or with parts and without, cannot be joined")
        sightings = Sightings.concat([part.sightings for part in parts])
        visibility = np.concatenate(visible) if visible else None
        return Embeddings(np.concatenate([part.vectors for part in parts]), sightings, visibility)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write Parquet: the columns of the sightings, and `vector` and any `visibility` as fixed-size lists."""
        import pyarrow as pa

        table = self.sightings.to_table()
        for name, values in (("vector", self.vectors), ("visibility", self.visibility)):
            if values is not None:
                lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
                table = table.append_column(name, lists)
        write_parquet(table, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Embeddings:
        """Read Parquet written by `save`.

        Raises:
            InputError: as `Sightings.load`, or there are no vectors of one length in a column vector.
        """
        table = read_parquet(path)
        with naming(path):
            if "vector" not in table.column_names:
                raise InputError(f"expected a column vector; it has {', '.join(table.column_names)}")
            visibility = _lists(table, "visibility") if "visibility" in table.column_names else None
            return Embeddings(_lists(table, "vector"), Sightings.from_table(table), visibility)


def _lists(table: pa.Table, name: str) -> NDArray[np.float32]:
    """A column of lists of one length as a matrix."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name].combine_chunks()
    if not (pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type)):
        raise InputError(f"expected {name} to hold a list of numbers per row, it holds {column.type}")
    numbers = cells(name, column, np.float32, lists=True)
    widths = pc.list_value_length(column).unique().to_pylist()
    if len(widths) > 1:
        raise InputError(f"expected {name} to have lists of one length, found {', '.join(map(str, widths))}")
    return numbers.reshape(len(column), *widths or [0])
