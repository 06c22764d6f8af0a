"""A Benchmark: its sightings, its protocol and its facts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.ranking.protocol import MARKET1501, Protocol
from reidentify.values import DISTRACTOR, Attribute, Sightings


@dataclass(frozen=True)
class Counts:
    """Published size of a split. None: not published."""

    images: int | None = None
    identities: int | None = None
    cameras: int | None = None
    tracklets: int | None = None


@dataclass(frozen=True)
class Download:
    """A file that the publisher allows to be fetched directly.

    Args:
        url: where.
        sha256: of the file; None where the publisher states none, and then it is computed and shown, not checked.
        unpack: unpack the archive after the download.
    """

    url: str
    sha256: str | None = None
    unpack: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of a public data set.

    Args:
        title: its name in prose.
        paper: the source of the data set and of the counts.
        licence: terms of use, in words.
        obtain: where to ask for it or get it, and into which folder it goes.
        folder: the folder under the data root that its reader looks for.
        counts: published counts per split ("train", "query", "gallery").
        downloads: direct downloads, if the publisher allows any.
        splits: how many splits of its identities there are; `@k` chooses one, and papers average over all.
        fps: frames per second, where times come from frame numbers.
        own_clocks: each camera's times run on a clock of its own, so intervals between cameras hold an unknown shift.
        notes: junk and distractor rules, withdrawn data, known traps.
    """

    title: str
    paper: str
    licence: str
    obtain: str
    folder: str
    counts: Mapping[str, Counts] = field(default_factory=dict)
    downloads: tuple[Download, ...] = ()
    splits: int = 1
    fps: float | None = None
    own_clocks: bool = False
    notes: str = ""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A data set ready for training and evaluation.

    Args:
        name: as given to `--data`, with its variant and split.
        sightings: every row, `split` set to "train", "query" or "gallery".
        protocol: how it is evaluated.
        facts: None for a user's own data.
        schema: the attributes that training and evaluation may use; each is a column of the sightings.
        parts: of joined benchmarks, these, with their own people and test rows.

    Raises:
        InputError: a split or an attribute's value that there is not.
    """

    name: str
    sightings: Sightings
    protocol: Protocol = MARKET1501
    facts: Facts | None = None
    schema: tuple[Attribute, ...] = ()
    parts: tuple[Benchmark, ...] = ()

    def __post_init__(self) -> None:
        split = self.sightings.split
        if split is None:
            raise InputError(f"{self.name}: the sightings of a benchmark need a split (train, query or gallery)")
        unknown = sorted(set(split.tolist()) - {"train", "query", "gallery"})
        if unknown:
            raise InputError(f"{self.name}: split must be train, query or gallery, found {', '.join(unknown)}")
        for attribute in self.schema:
            column = self.sightings.attributes.get(attribute.name)
            if column is None:
                raise InputError(f"{self.name}: the sightings have no attribute {attribute.name}")
            wrong = np.flatnonzero((column < -1) | (column >= len(attribute.values)))
            if len(wrong):
                row, files = int(wrong[0]), self.sightings.files
                shown = "" if files is None else f" ({files[self.sightings.offsets[row]]})"
                raise InputError(  # rows are counted from 1, as where a table is read
                    f"{self.name}: row {row + 1}{shown} has the value {column[row]} of {attribute.name}, which knows 0"
                    f" to {len(attribute.values) - 1}, and -1 where unlabelled"
                )

    def __repr__(self) -> str:
        return f"Benchmark({self.name}: train {self.train!r}, query {self.query!r}, gallery {self.gallery!r})"

    def _rows(self, split: str) -> Sightings:
        return self.sightings[np.flatnonzero(self.sightings.split == split)]

    @property
    def train(self) -> Sightings:
        """Training rows; junk and distractors are left out."""
        rows = self._rows("train")
        return rows[rows.pids > DISTRACTOR]

    @property
    def query(self) -> Sightings:
        """Query rows."""
        return self._rows("query")

    @property
    def gallery(self) -> Sightings:
        """Gallery rows, distractors and junk included; then the query rows, where the protocol says so."""
        rows = self._rows("gallery")
        return Sightings.concat([rows, self.query]) if self.protocol.queries_in_gallery else rows

    @property
    def test(self) -> Sightings:
        """Every test row once: the query rows, then the gallery rows that are no queries."""
        return Sightings.concat([self.query, self._rows("gallery")])

    def require_sides(self) -> None:
        """Make sure that there are queries and a gallery to evaluate on.

        Raises:
            InputError: there are none; the message says why, and what to do.
        """
        missing = [side for side in ("query", "gallery") if not len(getattr(self, side))]
        if not missing:
            return
        rows = self.sightings[np.flatnonzero(self.sightings.split != "train")]
        if not len(rows):
            why = "all images are for training; evaluate on one set at a time, or import with another --fraction"
        elif missing == ["query"] and (cause := unsearchable(rows)):
            why = cause
        else:
            why = f"no image has the split {missing[0]}"
        raise InputError(f"{self.name} has no {' and no '.join(missing)} to evaluate on: {why}")

    def holdout(self, fraction: float, seed: int = 0) -> tuple[Sightings, Benchmark]:
        """Set identities of the training split aside, for model selection and calibration.

        Of a held-out identity the rows that `queries` chooses are queries, the others gallery.

        Args:
            fraction: share of the training identities, between 0 and 1; at least two identities are taken.
            seed: of the draw.

        Returns:
            The training rows that remain, and a Benchmark of the held-out identities (its `train` is empty).
        """
        if not 0 < fraction < 1:
            raise InputError(f"holdout: the fraction must lie between 0 and 1, got {fraction}")
        rows, rng = self.train, np.random.default_rng(seed)
        identities = rows.identities
        if len(identities) < 4:
            raise InputError(f"{self.name}: {len(identities)} training identities are too few to hold any out")
        held = np.isin(rows.pids, rng.permutation(identities)[: max(2, round(fraction * len(identities)))])
        test = rows[held]
        split = np.full(len(test), "gallery", object)
        camids = test.camids if self.protocol.same_camera_is_junk else None
        for pid in test.identities:
            split[queries(rng.permutation(np.flatnonzero(test.pids == pid)), camids)] = "query"
        if not (split == "query").any():
            raise InputError(
                f"{self.name}: no held-out identity was seen by two cameras, so none can be searched for; train with"
                " input.holdout=0"
            )
        held_out = self.replace(name=f"{self.name}-holdout", sightings=test.replace(split=split))
        return rows[~held], held_out

    def replace(self, **changes: object) -> Benchmark:
        """A copy with some fields exchanged."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def queries(rows: NDArray[np.int64], camids: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Which of the (shuffled) rows of one identity become queries.

    One row per camera that has several (one row in all if no camera has), as long as the rest holds a right answer for
    it: one of another camera where cameras are known.
    """
    cameras = np.full(len(rows), -1) if camids is None else camids[rows]
    known, first, counts = np.unique(cameras, return_index=True, return_counts=True)
    if (known < 0).all():
        return rows[:1] if len(rows) > 1 else rows[:0]
    if len(known) < 2:
        return rows[:0]
    several = first[counts > 1]
    return rows[several] if len(several) else rows[:1]


def unsearchable(rows: Sightings) -> str:
    """Why `queries` finds none among all these rows, and what to do; empty if it finds some."""
    if any(len(queries(np.flatnonzero(rows.pids == pid), rows.camids)) for pid in rows.identities):
        return ""
    known = set() if rows.camids is None else set(rows.camids[rows.camids >= 0].tolist())
    if not known:
        return "no identity has a second image that could be found; give several images of the same person"
    seen = "all images to test on come from one camera" if len(known) == 1 else "no identity was seen by two cameras"
    return (
        f"{seen}, so no identity can be searched across cameras; leave the cameras out (a table without the column"
        " camid, or a folder per identity), then every other image of the identity counts"
    )


def camera_indices(camids: NDArray[np.int64], cameras: Sequence[int]) -> NDArray[np.int64]:
    """The place of each camera among `cameras`, -1 for one that is not there. N, int64."""
    places = {camera: place for place, camera in enumerate(cameras)}
    return np.array([places.get(camera, -1) for camera in camids.tolist()], np.int64)
