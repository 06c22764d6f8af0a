"""Light of the street: the sun, the sky and the lamps, and how they change from day to dusk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reidentify.street.casting import dot
from reidentify.street.noise import smooth

F32 = NDArray[np.float32]

DUSK_BEGINS, DUSK_ENDS = 0.46, 0.58  # shares of the recording between which day turns into dusk


@dataclass(frozen=True, eq=False)
class Light:
    """Light at one moment: colours (linear RGB) by which the three layers of a scene are weighted.

    Args:
        sun, sky, lamp: 3 each.
        dark: 0 by day, 1 at dusk.
    """

    sun: F32
    sky: F32
    lamp: F32
    dark: float


def light_at(seed: int, time: float, duration: float) -> Light:
    """The light at `time` seconds into a recording of `duration` seconds; clouds come and go."""
    dark = float(np.clip((time / duration - DUSK_BEGINS) / (DUSK_ENDS - DUSK_BEGINS), 0, 1))
    dark = dark * dark * (3 - 2 * dark)
    x = np.array([time / 240.0 + (seed % 89)], np.float32)
    clear = float(np.clip(3.0 * smooth(x, np.zeros(1, np.float32), seed % 977)[0] - 0.7, 0, 1))
    day = 1 - dark
    sun = np.array([1.0, 0.93, 0.82]) * 2.3 * (0.04 + 0.96 * clear) * day
    sky = np.array([0.86, 0.95, 1.08]) * (0.72 + 0.28 * (1 - clear)) * day + np.array([0.30, 0.36, 0.55]) * 0.30 * dark
    lamp = np.array([1.0, 0.76, 0.48]) * (0.9 * dark)
    return Light(sun.astype(np.float32), sky.astype(np.float32), lamp.astype(np.float32), dark)


def hemisphere(normal_z: F32) -> F32:
    """What a surface gets of sky light of strength 1: the sky from above, its reflection from the ground below."""
    up = 0.5 + 0.5 * normal_z
    return up + 0.28 * (1 - up)


def lamp_light(points: F32, normals: F32, lamps: F32) -> F32:
    """What N surface points get from lamps at L x 3 positions that light a circle of about ten metres. N."""
    total = np.zeros(len(points), np.float32)
    for lamp in lamps:
        way = lamp - points
        square = np.maximum(dot(way, way), 0.25)
        facing = np.maximum(dot(way, normals), 0) / np.sqrt(square)
        wrap = 0.25 + 0.75 * facing  # light also comes back from walls and ground
        total += 16.0 * wrap / (square + 4.0)
    return total
