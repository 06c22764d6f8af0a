"""Benchmarks by name: `name[-variant][@split]`, a path to one's own data, or several joined by `+` for training."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from reidentify.data.benchmark import Benchmark, Facts
from reidentify.data.root import data_root
from reidentify.errors import InputError
from reidentify.joints import to_market14
from reidentify.ranking.protocol import MARKET1501, NO_CAMERAS
from reidentify.values import Sightings

READERS = {
    "market1501": "reidentify.data.benchmarks.market1501",
    "dukemtmcreid": "reidentify.data.benchmarks.dukemtmcreid",
    "msmt17": "reidentify.data.benchmarks.msmt17",
    "cuhk01": "reidentify.data.benchmarks.cuhk01",
    "cuhk02": "reidentify.data.benchmarks.cuhk02",
    "cuhk03": "reidentify.data.benchmarks.cuhk03",
    "viper": "reidentify.data.benchmarks.viper",
    "grid": "reidentify.data.benchmarks.grid",
    "prid2011": "reidentify.data.benchmarks.prid2011",
    "ilids": "reidentify.data.benchmarks.ilids",
    "sensereid": "reidentify.data.benchmarks.sensereid",
    "occluded-duke": "reidentify.data.benchmarks.occluded_duke",
    "occluded-reid": "reidentify.data.benchmarks.occluded_reid",
    "partial-reid": "reidentify.data.benchmarks.partial_reid",
    "mars": "reidentify.data.benchmarks.mars",
    "dukemtmcvidreid": "reidentify.data.benchmarks.dukemtmcvidreid",
    "ilids-vid": "reidentify.data.benchmarks.ilids_vid",
    "lsvid": "reidentify.data.benchmarks.lsvid",
    "dancereid": "reidentify.data.benchmarks.dancereid",
    "street": "reidentify.data.benchmarks.street",
    "street-dance": "reidentify.data.benchmarks.street_dance",
}
"""The module of each data set, imported when first asked for."""


SAME_PEOPLE = {"mars": "market1501", "dukemtmcvidreid": "dukemtmcreid", "occluded-duke": "dukemtmcreid"}
"""Sets that were cut from the recordings of another, and split otherwise: who is tested here may be trained there."""

OWN = "the user's own images"


class Reader(Protocol):
    """What the module of a data set offers."""

    FACTS: Facts
    VARIANTS: Mapping[str, Facts]

    def read(self, root: Path, variant: str | None, split: int) -> Benchmark:
        """Read the set under `root`, the data root or the set's own folder."""
        ...


def _reader(name: str) -> Reader:
    return cast(Reader, importlib.import_module(READERS[name]))


def names() -> list[str]:
    """Every known name, with its variants."""
    return [full for name in READERS for full in (name, *(f"{name}-{v}" for v in _reader(name).VARIANTS))]


def _parse(text: str) -> tuple[str, str | None, int] | None:
    """`name[-variant][@split]` as name, variant and split (0 where none is given); None if no set is called so."""
    full, at, number = text.strip().lower().partition("@")
    for name in READERS:
        variant = full.removeprefix(f"{name}-")
        if full == name or (variant != full and variant in _reader(name).VARIANTS):
            if at and not number.isdecimal():
                raise InputError(f"{text}: expected a split number after the @, like {full}@3")
            return name, None if full == name else variant, int(number or 0)
    return None


def bases(name: str) -> set[str]:
    """The data sets that a name stands for, without variants and splits: those whose people it may show.

    A set that was cut from the recordings of another is named as that one.
    """
    known = {part: _parse(part) for part in name.split("+") if part}
    return {part if found is None else SAME_PEOPLE.get(found[0], found[0]) for part, found in known.items()}


def same_split(a: str, b: str) -> bool:
    """Whether two names mean the same people to train on and the same to test on."""
    first, second = (name.removesuffix("@0").removesuffix("-tracklets") for name in (a, b))
    return first == second


def trained_on_tested(trained: str, tested: str) -> bool:
    """Whether people of one data set's training split may be in another's test split: they were cut from the same
    recordings, and split otherwise."""
    return any(bases(part) & bases(tested) and not same_split(part, tested) for part in trained.split("+") if part)


def _unknown(text: str) -> InputError:
    if os.sep in text or Path(text).suffix in (".csv", ".parquet"):
        return InputError(f"{text}: no such file or folder")
    near = difflib.get_close_matches(text.strip().lower().partition("@")[0], names(), n=1, cutoff=0.0)[0]
    return InputError(f"{text}: neither the name of a data set (the nearest is {near}) nor an existing file or folder")


def facts(name: str) -> Facts:
    """What is known of a public data set, or of a variant of it.

    Raises:
        InputError: no such name; the nearest is named.
    """
    known = _parse(name)
    if known is None:
        raise _unknown(name)
    base, variant, _ = known
    reader = _reader(base)
    return reader.VARIANTS[variant] if variant else reader.FACTS


def benchmark(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Benchmark:
    """Read a data set.

    Args:
        name: `name[-variant][@split]` (`names` lists them; for instance `cuhk03-np-detected` or `viper@3`), or the
            path of one's own table or folder (see `reidentify.data.own`), or several of these joined by `+` for
            training (see `join`). A public name goes before a path spelled the same.
        root: the data root, or the set's own folder; default as in `data_root`.

    Raises:
        InputError: no such name or path; the set is not where it was looked for; its files are not as published.
    """
    from reidentify.data import own

    text = os.fspath(name)
    known = _parse(text) if isinstance(name, str) else None
    if known is not None:
        base, variant, split = known
        return _reader(base).read(data_root(root), variant, split).replace(name=text.strip().lower())
    if not isinstance(name, str) or Path(text).expanduser().exists():
        return own.read(text)
    if "+" in text:
        return join([benchmark(part, root) for part in text.split("+")])
    raise _unknown(text)


def join(parts: Sequence[Benchmark]) -> Benchmark:
    """Several benchmarks as one, for training.

    Only the training rows are taken: query and gallery of the result are empty, as a score over several sets means
    nothing; evaluate on one of them at a time. People and cameras are numbered anew, so that those of different parts
    stay distinct, and `sources` names the part of every row. Of the schemas, what all parts have remains. Where the
    parts have different sets of joints, all become Market-1501's 14 (`to_market14`). The parts themselves stay at hand
    as `parts`.

    Raises:
        InputError: a part has no training rows, two parts have the same name, or parts have different sets of joints
            of which one is unknown.
    """
    titles = [p.name for p in parts]
    if len(set(titles)) < len(titles):
        raise InputError(f"{'+'.join(titles)}: the same data set is named twice")
    joined: list[Sightings] = []
    people = cameras = 0
    for part in parts:
        train = part.train
        if not len(train):
            raise InputError(f"{part.name}: has no training images to join with others")
        identities, labels = np.unique(train.pids, return_inverse=True)
        camids = train.camids
        if camids is not None:
            known, ranks = np.unique(camids[camids >= 0], return_inverse=True)
            camids = camids.copy()
            camids[camids >= 0] = cameras + 1 + ranks
            cameras += len(known)
        sources = np.full(len(train), part.name, dtype=object)
        joined.append(train.replace(pids=people + 1 + labels, camids=camids, sources=sources))
        people += len(identities)
    licences = dict.fromkeys(f"{p.name}: {p.facts.licence if p.facts else OWN}" for p in parts)
    facts = Facts("+".join(titles), "", "; ".join(licences), "", "")
    schema = tuple(a for a in parts[0].schema if all(a in part.schema for part in parts))
    if len({rows.keypoints.shape[1] for rows in joined if rows.keypoints is not None}) > 1:
        joined = [r if r.keypoints is None else r.replace(keypoints=to_market14(r.keypoints)) for r in joined]
    protocol = MARKET1501 if cameras else NO_CAMERAS
    return Benchmark("+".join(titles), Sightings.concat(joined), protocol, facts, schema, tuple(parts))
