"""Attributes of DukeMTMC-reID (per identity) and of DukeMTMC-VideoReID (per tracklet).

The image set's are 23 columns, of which 8 are colours of the upper and 7 of the lower body (Lin et al., Improving
Person Re-identification by Attribute and Identity Learning, Pattern Recognition 2019; github.com/vana77/
DukeMTMC-attribute). The video set's table, duke_attributes.csv, is by Chen et al., PRCV 2019 (arXiv 1901.05742). It
names no values: those of the attributes that both sets have are taken to be in the image set's order, as they are in
MARS and Market-1501, and colours, actions and angles are called by their numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.data.attributes import NO_YES, OTHER, Columns, Schema, read_tracklets
from reidentify.data.benchmarks.mars_attributes import SIGHTING
from reidentify.values import Attribute

IMAGE_NAME, VIDEO_NAME = "duke_attribute.mat", "duke_attributes.csv"
STRUCT = "duke_attribute"
_UPPER = ("black", "white", "red", "purple", "gray", "blue", "green", "brown")
_LOWER = ("black", "white", "red", "gray", "blue", "green", "brown")
_GENDER, _SHOES, _LENGTH = ("male", "female"), ("dark", "light"), ("short", "long")

FIELDS: dict[Attribute, tuple[str, ...]] = {
    Attribute("gender", _GENDER): ("gender",),
    Attribute("upper_length", _LENGTH): ("top",),
    Attribute("boots", NO_YES): ("boots",),
    Attribute("hat", NO_YES): ("hat",),
    Attribute("backpack", NO_YES): ("backpack",),
    Attribute("bag", NO_YES): ("bag",),
    Attribute("handbag", NO_YES): ("handbag",),
    Attribute("shoes", _SHOES): ("shoes",),
    Attribute("upper_colour", (*_UPPER, OTHER)): tuple(f"up{colour}" for colour in _UPPER),
    Attribute("lower_colour", (*_LOWER, OTHER)): tuple(f"down{colour}" for colour in _LOWER),
}
"""The image set's attributes, and the columns of `STRUCT` in duke_attribute.mat that hold them."""

VIDEO: Schema = (
    *SIGHTING,
    Attribute("backpack", NO_YES),
    Attribute("bag", NO_YES),
    Attribute("handbag", NO_YES),
    Attribute("boots", NO_YES),
    Attribute("gender", _GENDER),
    Attribute("hat", NO_YES),
    Attribute("shoes", _SHOES),
    Attribute("upper_length", _LENGTH),
    Attribute("lower_colour", tuple(f"lower colour {n}" for n in range(8))),
    Attribute("upper_colour", tuple(f"upper colour {n}" for n in range(9))),
)
"""The video set's attributes, in the order of the columns of duke_attributes.csv."""


def read(
    path: Path, pids: NDArray[np.int64], camids: NDArray[np.int64], tracklets: NDArray[np.int64]
) -> tuple[Columns, Schema]:
    """Labels of the video set's tracklets.

    Args:
        path: of duke_attributes.csv.
        pids, camids: N each, int64.
        tracklets: N, int64, the number that is the name of the tracklet's folder.

    Returns:
        The columns by attribute, N each, int64, -1 where unlabelled; and their schema.

    Raises:
        InputError: as `reidentify.data.attributes.read_tracklets`.
    """
    return read_tracklets(path, (VIDEO,), pids, camids, tracklets)
