"""Looking at a data set: does it hold what was published, does every image decode, and how large are its parts."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reidentify.data.benchmark import Benchmark, Facts
from reidentify.data.console import console
from reidentify.errors import ImageError
from reidentify.values import DISTRACTOR, JUNK, Sightings

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SPLITS = ("train", "query", "gallery")
IN_PROCESS = 1_000
"""Fewer images than this are decoded without starting other processes, which takes longer than it saves."""
BLOCK = 250


@dataclass(frozen=True)
class Comparison:
    """One published count beside what was found."""

    split: str
    quantity: str
    found: int
    published: int

    @property
    def agrees(self) -> bool:
        """True when both are equal."""
        return self.found == self.published


@dataclass(frozen=True)
class CheckReport:
    """What `check` found; prints as tables.

    Args:
        name: of the data set.
        paper: the source of the published counts; empty without any.
        comparisons: the counts that are published, beside those found.
        images: how many distinct images were decoded or tried.
        missing: files that do not exist.
        unreadable: path and reason of the files that exist and do not decode.
    """

    name: str
    paper: str
    comparisons: tuple[Comparison, ...]
    images: int
    missing: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def ok(self) -> bool:
        """True when every count agrees and every image decodes."""
        return not self.missing and not self.unreadable and all(c.agrees for c in self.comparisons)

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = []
        if self.comparisons:
            rows = [
                (c.split, c.quantity, f"{c.found:,}", f"{c.published:,}", "yes" if c.agrees else "NO")
                for c in self.comparisons
            ]
            parts.append(_table(f"{self.name}: counts", ("split", "of", "found", "published", "agrees"), rows, 2))
            parts.append(Text(f"published: {self.paper}"))
        bad = [("missing", path, "no such file") for path in self.missing]
        bad += [("unreadable", path, reason) for path, reason in self.unreadable]
        if bad:
            parts.append(_table(f"{self.name}: images", ("image", "path", "reason"), bad, 3))
        counts = f"{len(self.missing)} missing, {len(self.unreadable)} unreadable"
        parts.append(Text(f"{self.images:,} images: {counts if bad else 'all decode'}"))
        return Group(*parts)


@dataclass(frozen=True)
class SplitStatistics:
    """Sizes of one split. Identities, and images per identity, are without junk and distractors."""

    split: str
    identities: int
    rows: int
    images: int
    cameras: int | None  # None: unknown
    distractors: int
    junk: int
    least: int
    median: float
    mean: float
    most: int


@dataclass(frozen=True)
class Statistics:
    """What `stats` found; prints as a table."""

    name: str
    splits: tuple[SplitStatistics, ...]
    attributes: int = 0

    def __rich__(self) -> RenderableType:
        # A column per split, so that the table fits a terminal.
        lines = {
            "identities": [f"{s.identities:,}" for s in self.splits],
            "tracklets": [f"{s.rows:,}" for s in self.splits],
            "images": [f"{s.images:,}" for s in self.splits],
            "cameras": ["unknown" if s.cameras is None else str(s.cameras) for s in self.splits],
            "images of distractors": [f"{s.distractors:,}" for s in self.splits],
            "images of junk": [f"{s.junk:,}" for s in self.splits],
            "images per identity: min": [f"{s.least:,}" for s in self.splits],
            "median": [f"{s.median:,g}" for s in self.splits],
            "mean": [f"{s.mean:,.1f}" for s in self.splits],
            "max": [f"{s.most:,}" for s in self.splits],
        }
        if all(s.rows == s.images for s in self.splits):
            del lines["tracklets"]
        table = _table(self.name, ("", *(s.split for s in self.splits)), [(k, *v) for k, v in lines.items()], 1)
        table.caption = f"attributes: {self.attributes}" if self.attributes else None
        return table


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Table:
    """A table whose first `left` columns hold text and the others numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", caption_justify="left")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # as Text, so that a [ in a path is not taken for markup
    return table


def stats(benchmark: Benchmark) -> Statistics:
    """Identities, images, cameras and images per identity of each split that has rows, and the number of attributes."""
    rows = ((s, _rows(benchmark, s)) for s in SPLITS)
    splits = tuple(_statistics(split, part) for split, part in rows if len(part))
    return Statistics(benchmark.name, splits, len(benchmark.schema))


def _rows(benchmark: Benchmark, split: str) -> Sightings:
    return benchmark.sightings[np.asarray(benchmark.sightings.split) == split]


def _statistics(split: str, rows: Sightings) -> SplitStatistics:
    lengths = rows.lengths
    known = rows.pids > DISTRACTOR
    _, labels = np.unique(rows.pids[known], return_inverse=True)
    per_identity = np.bincount(labels, weights=lengths[known]) if known.any() else np.zeros(1)
    return SplitStatistics(
        split=split,
        identities=len(rows.identities),
        rows=len(rows),
        images=int(lengths.sum()),
        cameras=_cameras(rows),
        distractors=int(lengths[rows.pids == DISTRACTOR].sum()),
        junk=int(lengths[rows.pids == JUNK].sum()),
        least=int(per_identity.min()),
        median=float(np.median(per_identity)),
        mean=float(per_identity.mean()),
        most=int(per_identity.max()),
    )


def _cameras(rows: Sightings) -> int | None:
    if rows.camids is None or not (rows.camids >= 0).any():
        return None
    return len(np.unique(rows.camids[rows.camids >= 0]))


def check(benchmark: Benchmark, facts: Facts | None = None, processes: int | None = None) -> CheckReport:
    """Compare the counts with the published ones and decode every image whole.

    Args:
        benchmark: the data set.
        facts: the published counts; by default the benchmark's own, if it has any.
        processes: how many decode at once; by default one per processor. With more than one, a script that calls this
            needs the usual `if __name__ == "__main__":`.

    Returns:
        Every difference and every image that is missing or does not decode; nothing is raised for them.
    """
    facts = facts or benchmark.facts
    files = benchmark.sightings.files
    paths = [] if files is None else sorted({str(f) for f in files})
    missing = [p for p in paths if not os.path.exists(p)]
    absent = set(missing)
    present = [p for p in paths if p not in absent]
    return CheckReport(
        name=benchmark.name,
        paper=facts.paper if facts is not None else "",
        comparisons=tuple(_compare(benchmark, facts)) if facts is not None else (),
        images=len(paths),
        missing=tuple(missing),
        unreadable=tuple(_decode_all(present, processes or os.cpu_count() or 1)),
    )


def _compare(benchmark: Benchmark, facts: Facts) -> Iterator[Comparison]:
    for split in SPLITS:
        published = facts.counts.get(split)
        if published is None:
            continue
        rows = _rows(benchmark, split)
        found = {
            "images": int(rows.offsets[-1]),
            "identities": len(rows.identities),
            "cameras": _cameras(rows) or 0,
            "tracklets": len(rows),
        }
        for quantity, value in dataclasses.asdict(published).items():
            if value is not None:
                yield Comparison(split, quantity, found[quantity], value)


def _decode_all(paths: Sequence[str], processes: int) -> list[tuple[str, str]]:
    from rich.progress import Progress

    blocks = [paths[i : i + BLOCK] for i in range(0, len(paths), BLOCK)]
    bad: list[tuple[str, str]] = []
    with Progress(console=console()) as bar:
        task = bar.add_task("decoding images", total=len(paths))
        if processes == 1 or len(paths) < IN_PROCESS:
            for block in blocks:
                bad += unreadable(block)
                bar.advance(task, len(block))
            return bad
        # Fresh processes: forking one whose libraries run threads can hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(blocks)), mp_context=context) as pool:
            waiting: deque[tuple[Future[list[tuple[str, str]]], int]] = deque()
            waiting.extend((pool.submit(unreadable, block), len(block)) for block in blocks)
            while waiting:
                future, count = waiting.popleft()
                bad += future.result()
                bar.advance(task, count)
    return bad


def unreadable(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Path and reason of those that do not decode whole."""
    from reidentify.data.pixels import decode

    bad = []
    for path in paths:
        try:
            decode(path)
        except ImageError as error:
            bad.append((path, error.reason))
    return bad
