"""Attributes of MARS, labelled for each tracklet: both published tables, each called mars_attributes.csv.

Version 1 (github.com/yuange250/MARS-Attribute) has the 12 identity-relevant attributes, with the names of its colours
and ages. It names no other values: they are those of Market-1501, less one, as the identities that both sets share
show. Version 2 (Chen et al., A Temporal Attentive Approach for Video-Based Pedestrian Attribute Recognition, PRCV 2019,
arXiv 1901.05742) puts 9 identity-irrelevant ones before them. Which of its numbers stands for which action and angle is
not published, so those values are called by their numbers. Junk and distractors have no labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.data.attributes import NO_YES, Columns, Schema, read_tracklets
from reidentify.values import Attribute

NAME = "mars_attributes.csv"
IDENTITY: Schema = (
    Attribute("upper_colour", ("black", "purple", "green", "blue", "gray", "white", "yellow", "red", "complex")),
    Attribute(
        "lower_colour",
        ("white", "purple", "black", "green", "gray", "pink", "yellow", "blue", "brown", "complex"),
    ),
    Attribute("age", ("young", "teenager", "adult", "old")),
    Attribute("sleeve", ("long", "short")),
    Attribute("lower_length", ("long", "short")),
    Attribute("bag", NO_YES),
    Attribute("backpack", NO_YES),
    Attribute("hat", NO_YES),
    Attribute("handbag", NO_YES),
    Attribute("hair", ("short", "long")),
    Attribute("gender", ("male", "female")),
    Attribute("lower_type", ("dress", "pants")),
)
"""Version 1, in the order of its columns."""

SIGHTING: Schema = (
    Attribute("action", tuple(f"action {n}" for n in range(5)), identity=False),
    Attribute("angle", tuple(f"angle {n}" for n in range(6)), identity=False),
    *(
        Attribute(name, NO_YES, identity=False)
        for name in (
            "occlusion", "cut", "multi_person", "back_dominant", "target_change", "target_miss", "wrong_target",
        )
    ),
)  # fmt: skip
"""What version 2 says of the sighting, in the order of its columns."""


def read(
    path: Path, pids: NDArray[np.int64], camids: NDArray[np.int64], tracklets: NDArray[np.int64]
) -> tuple[Columns, Schema]:
    """Labels of tracklets out of either version, told apart by the number of headings.

    Args:
        path: of the table.
        pids, camids: N each, int64.
        tracklets: N, int64, the number after the T of the file names.

    Returns:
        The columns by attribute, N each, int64, -1 where unlabelled; and the schema of the version found.

    Raises:
        InputError: as `reidentify.data.attributes.read_tracklets`.
    """
    return read_tracklets(path, (IDENTITY, SIGHTING + IDENTITY), pids, camids, tracklets)
