"""The rendered street: images, or tracklets, of people who never lived, with complete truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Facts
from reidentify.data.benchmarks import layout
from reidentify.errors import InputError
from reidentify.ranking.protocol import MARKET1501, Protocol
from reidentify.values import Attribute, Sightings

FORMAT = 1
"""The layout of the folder that is understood here; `reidentify.street` writes it and describes it."""
OF_SIGHTINGS = ("angle", "action", "occlusion", "light")
"""The attributes of a sighting; the others that street.json names are of the identity."""

FACTS = Facts(
    title="the street",
    paper="rendered by reidentify.street; no paper",
    licence="Apache-2.0, as the program that renders it; it shows no real person",
    obtain="It is rendered when a command first asks for it; one of your own: reidentify street --out DIR.",
    folder="street",
    fps=10.0,
    notes="All cameras share one clock. Keypoints (14 joints) and masks are exact, attributes complete; street.json"
    " beside the tables names the attributes' values and holds the cameras' calibration. The variant tracklets holds"
    " the same crops, one row per way of a person past a camera.",
)
VARIANTS = {"tracklets": replace(FACTS, title="the street, as tracklets")}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the street under `root / "street"`, or at `root` itself; variant `tracklets` reads its tracklets.

    Raises:
        InputError: as `read_rendered`.
    """
    if variant is None:
        return read_rendered(root, FACTS, split)
    return read_rendered(root, VARIANTS[variant], split, variant)


def read_rendered(
    root: Path,
    facts: Facts,
    split: int,
    table: str = "sightings",
    protocol: Protocol = MARKET1501,
    dance: bool = False,
) -> Benchmark:
    """Read a table of a rendered folder: a street, or the dance stage.

    Raises:
        InputError: no whole folder is there, or one of another layout, or a stage where a street was asked for.
    """
    layout.check_split(split, facts)
    home = layout.locate(root, facts, ["street.json"])
    try:
        content = json.loads((home / "street.json").read_text())
        found = content["format"]
        named = dict(content["attributes"]) if found == FORMAT else {}
        dances = content.get("kind") == "dance"
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{home / 'street.json'}: not the description of a rendered street") from None
    if found != FORMAT:
        command = "stage" if dance else "street"
        raise InputError(
            f"{home}: has layout {found} where {FORMAT} is understood; render anew: reidentify {command} --out DIR"
        )
    if dances != dance:
        holds, name = ("a dance stage", "street-dance") if dances else ("a street without a stage", "street")
        raise InputError(f"{home}: holds {holds}; ask for it as {name}, or give another folder")
    rows = Sightings.load(home / f"{table}.parquet")
    if rows.files is None or rows.masks is None:
        raise InputError(f"{home / table}.parquet: expected the columns files and masks")
    files, masks = (np.array([str(home / f) for f in column], object) for column in (rows.files, rows.masks))
    schema = tuple(Attribute(k, tuple(values), identity=k not in OF_SIGHTINGS) for k, values in named.items())
    return Benchmark("street", rows.replace(files=files, masks=masks), protocol, facts, schema)
