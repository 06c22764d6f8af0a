"""Attributes of Market-1501: published ones of the identities, and ones of the sightings derived from the joints.

Of the identities, 27 columns are published (Lin et al., Improving Person Re-identification by Attribute and Identity
Learning, Pattern Recognition 2019; github.com/vana77/Market-1501_Attribute): 10 become an attribute each, 8 yes-or-no
colours become the colour of the upper body and 9 that of the lower. No identity has two of either, and 147 and 74 of
1,501 have none, for which the value "other" stands.

Of the sightings nothing is published. `derive` computes what the 14 machine-made joints carry: from which side the
person is seen, whether the feet are cut off, and whether the legs are apart. The thresholds below were chosen on the
distributions over the training images and by looking at images of every value. Whether a person walks or stands the
joints do not tell: two neighbouring images of a tracklet agree on the legs in 71 % when up to a second apart and in
57 % when two to five, where chance gives 52 (on the orientation in 80 and 73 %, chance 32). So the legs show the phase
of a step, and no attribute "action" is made of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.data.attributes import NO_YES, OTHER, Columns, Schema, majority, read_identities
from reidentify.values import DISTRACTOR, Attribute, Sightings

NAME, STRUCT = "market_attribute.mat", "market_attribute"
_UPPER = ("black", "white", "red", "purple", "yellow", "gray", "blue", "green")
_LOWER = ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown")

FIELDS: dict[Attribute, tuple[str, ...]] = {
    Attribute("age", ("young", "teenager", "adult", "old")): ("age",),
    Attribute("gender", ("male", "female")): ("gender",),
    Attribute("hair", ("short", "long")): ("hair",),
    Attribute("hat", NO_YES): ("hat",),
    Attribute("sleeve", ("long", "short")): ("up",),
    Attribute("upper_colour", (*_UPPER, OTHER)): tuple(f"up{colour}" for colour in _UPPER),
    Attribute("lower_type", ("dress", "pants")): ("clothes",),
    Attribute("lower_length", ("long", "short")): ("down",),
    Attribute("lower_colour", (*_LOWER, OTHER)): tuple(f"down{colour}" for colour in _LOWER),
    Attribute("bag", NO_YES): ("bag",),
    Attribute("backpack", NO_YES): ("backpack",),
    Attribute("handbag", NO_YES): ("handbag",),
}
"""The attributes of identities, and the columns of `STRUCT` in market_attribute.mat that hold them."""

ORIENTATION = Attribute("orientation", ("front", "back", "left", "right"), identity=False)
"""The side of the person that the camera sees."""
TRUNCATION = Attribute("truncation", ("whole", "feet cut off"), identity=False)
LEGS = Attribute("legs", ("together", "apart"), identity=False)
DERIVED: Schema = (ORIENTATION, TRUNCATION, LEGS)

MIN_TORSO = 16.0
"""Pixels, an eighth of the image: with a lower torso (0.3 % of the images) the joints are not of a standing body."""
TURNED = 0.6
"""Width of the shoulders over the height of the torso. Its two peaks, people seen from the front and from behind, lie
at 0.85 and -0.85; this is 0.85 times the cosine of 45 degrees, so that each of four sides has a quarter of the turn."""
FACING = 0.4
"""How far head, knees, wrists and elbows must point to one side, in heights of the torso, to call it the front. The sum
has peaks at 0.8 and -0.8; in the valley around 0 the images show either side."""
FEET_SEEN, FEET_CUT = 123.0, 125.0
"""Height of the lower ankle in pixels of 128, the first 0; the median is 116. From the second on 9 images in 10 show no
whole foot; below the first nearly all do; between them half do, so that nothing is said."""
SAME_FOOT, TOGETHER, APART = 0.1, 0.3, 0.5
"""Distance of the ankles in lengths of a leg (hip to ankle). Below the first, a peak of its own, both ankles were often
found on one foot, even of people in mid-stride; between the others images show either."""

_HEAD, _NECK = 0, 1
_SHOULDERS, _ELBOWS, _WRISTS = [2, 5], [3, 6], [4, 7]  # right, left
_HIPS, _KNEES, _ANKLES = [8, 11], [9, 12], [10, 13]


def derive(keypoints: NDArray[np.float32]) -> Columns:
    """What the joints of each image say of the sighting.

    Args:
        keypoints: F x 14 x 3, float32: x and y in pixels of the 64 x 128 image, and visibility, in Market's order
            (head, neck; shoulder, elbow, wrist of the right and the left arm; hip, knee, ankle of both legs).

    Returns:
        orientation, truncation and legs, F each, int64: positions in the values of `DERIVED`, -1 where the joints do
        not say.
    """
    x, y = keypoints[..., 0].astype(np.float64), keypoints[..., 1].astype(np.float64)
    torso = y[:, _HIPS].mean(axis=1) - y[:, _SHOULDERS].mean(axis=1)
    leg = y[:, _ANKLES].mean(axis=1) - y[:, _HIPS].mean(axis=1)
    usable = (keypoints[..., 2] > 0).all(axis=1) & (torso >= MIN_TORSO) & (leg > 0)
    torso, leg = np.maximum(torso, MIN_TORSO), np.maximum(leg, 1.0)

    right, left = _SHOULDERS
    width = (x[:, left] - x[:, right]) / torso  # seen from the front, a person's right is on the left of the image
    facing = _facing(x, y) / torso
    side = np.select([facing <= -FACING, facing >= FACING], [2, 3], -1)
    orientation = np.select([width >= TURNED, width <= -TURNED], [0, 1], side)

    lowest = y[:, _ANKLES].max(axis=1)
    cut = np.select([lowest < FEET_SEEN, lowest >= FEET_CUT], [0, 1], -1)
    stride = np.hypot(*(np.diff(values[:, _ANKLES], axis=1)[:, 0] for values in (x, y))) / leg
    legs = np.select([(cut != 0) | (stride < SAME_FOOT), stride < TOGETHER, stride > APART], [-1, 0, 1], -1)
    found = {ORIENTATION.name: orientation, TRUNCATION.name: cut, LEGS.name: legs}
    return {name: np.where(usable, values, -1) for name, values in found.items()}


def _facing(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how many pixels the body points to the right of the image: the head lies before the neck, the wrists before
    the shoulders, a bent knee before the line from hip to ankle, and a bent elbow behind that from shoulder to wrist.
    """

    def bend(start: list[int], middle: list[int], end: list[int]) -> NDArray[np.float64]:
        height = y[:, end] - y[:, start]
        share = np.clip((y[:, middle] - y[:, start]) / np.where(np.abs(height) < 1, 1, height), 0, 1)
        bent: NDArray[np.float64] = x[:, middle] - x[:, start] - share * (x[:, end] - x[:, start])
        return bent.mean(axis=1)

    knees, elbows = bend(_HIPS, _KNEES, _ANKLES), bend(_SHOULDERS, _ELBOWS, _WRISTS)
    wrists = (x[:, _WRISTS] - x[:, _SHOULDERS]).mean(axis=1)
    pointing: NDArray[np.float64] = x[:, _HEAD] - x[:, _NECK] + wrists + knees - elbows
    return pointing


def label(rows: Sightings, path: Path | None) -> tuple[Sightings, Schema]:
    """The rows with the attributes that are at hand, and their schema.

    Args:
        rows: images or tracklets. Where they have joints, attributes of the sighting are derived: of a tracklet, what
            most of its images show. Junk and distractors have none, for their joints are of no person.
        path: of market_attribute.mat; None: without attributes of identities.
    """
    columns, schema = ({}, ()) if path is None else read_identities(path, STRUCT, FIELDS, rows.pids)
    if rows.keypoints is not None:
        derived = derive(rows.keypoints)
        for attribute in DERIVED:
            values = majority(derived[attribute.name], rows.offsets, len(attribute.values))
            columns[attribute.name] = np.where(rows.pids > DISTRACTOR, values, -1)
        schema = (*schema, *DERIVED)
    return rows.replace(attributes=columns), schema
