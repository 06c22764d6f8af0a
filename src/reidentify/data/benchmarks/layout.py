"""What the readers of public data sets share: finding a set's folder, parsing file names, seeded splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.data.benchmark import Facts
from reidentify.data.root import image_files
from reidentify.errors import InputError
from reidentify.values import Sightings

RANDOM_SPLITS = 10
"""How many seeded splits a set without published ones has: `@0` to `@9`, as papers average over ten."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find(root: Path, names: Sequence[str], holds: Sequence[str]) -> Path | None:
    """The folder that has all entries of `holds`: `root`, a child of it called one of `names`, or a child of that.

    Case and punctuation of `names` do not matter, so that `Market-1501-v15.09.15` and `market1501` need no list of
    spellings. None if there is no such folder.
    """
    if not root.is_dir():
        return None
    wanted = {_plain(n) for n in names}
    named = sorted(p for p in root.iterdir() if _plain(p.name) in wanted and p.is_dir())
    inner = [q for p in named for q in sorted(p.iterdir()) if q.is_dir()]
    return next((p for p in (root, *named, *inner) if all((p / h).exists() for h in holds)), None)


def locate(root: Path, facts: Facts, holds: Sequence[str], aliases: Sequence[str] = ()) -> Path:
    """Like `find`, for a set that has to be there.

    Raises:
        InputError: it is not; the sentence names the place and how to obtain the set.
    """
    home = find(root, (facts.folder, *aliases), holds)
    if home is None:
        raise missing(root, facts, " and ".join(holds))
    return home


def missing(root: Path, facts: Facts, what: str) -> InputError:
    """The error for a set, or a part of it, that is not there."""
    where = f"{root / facts.folder} (or {root} itself)" if root.is_dir() else f"{root}, which does not exist"
    return InputError(f"{facts.title}: expected {what} in {where}. {facts.obtain}")


def parse(files: Iterable[Path], pattern: str, example: str) -> list[re.Match[str]]:
    """Match `pattern` against every whole file stem.

    Raises:
        InputError: a name does not match; it is named beside an `example` of what was expected.
    """
    compiled = re.compile(pattern)
    matches = []
    for file in files:
        match = compiled.fullmatch(file.stem)
        if match is None:
            raise InputError(f"{file}: expected a name like {example}")
        matches.append(match)
    return matches


def images(folder: Path) -> list[Path]:
    """The images of a folder that must hold some.

    Raises:
        InputError: it holds none.
    """
    files = image_files(folder)
    if not files:
        raise InputError(f"{folder}: holds no images; unpack the data set again")
    return files


def rows(
    files: Sequence[Path] | NDArray[Any], pids: ArrayLike, camids: ArrayLike | None, split: str, **columns: Any
) -> Sightings:
    """Sightings of single images, all of one split."""
    return Sightings(
        np.asarray(pids, dtype=np.int64),
        camids,  # type: ignore[arg-type]  # checked and converted by Sightings
        files=np.array([str(f) for f in files], dtype=object),
        split=np.full(len(files), split, dtype=object),
        **columns,
    )


def check_split(split: int, facts: Facts) -> None:
    """Refuse a split number the set does not have.

    Raises:
        InputError: `split` is not from 0 to `facts.splits` - 1.
    """
    if not 0 <= split < facts.splits:
        have = "one split, @0" if facts.splits == 1 else f"the splits @0 to @{facts.splits - 1}"
        raise InputError(f"{facts.title} has {have}; @{split} is none of them")


def draw(identities: ArrayLike, count: int, split: int) -> NDArray[np.int64]:
    """`count` of the identities, drawn with the split number as the seed, sorted. int64."""
    chosen = np.random.default_rng(split).permutation(np.unique(identities))[:count]
    return np.sort(chosen.astype(np.int64))
