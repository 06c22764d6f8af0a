"""A rendered camera network with complete ground truth: the embedded default.

`render` writes a street into a folder, `render_dance` a dance stage, and `ensure` the default ones under the data root;
`Street` and `Stage` give single pictures (`frame`, `crop`) without files. Everything is ray-cast on the CPU with Embree
(the extra `street`).
"""

from __future__ import annotations

from reidentify.street.dance import DanceSettings, Stage
from reidentify.street.montage import montage
from reidentify.street.render import ensure, opened, render, render_dance
from reidentify.street.wardrobe import SIGHTING_VALUES, VALUES
from reidentify.street.world import Crop, Frame, Settings, Street, frame

__all__ = [
    "SIGHTING_VALUES",
    "VALUES",
    "Crop",
    "DanceSettings",
    "Frame",
    "Settings",
    "Stage",
    "Street",
    "ensure",
    "frame",
    "montage",
    "opened",
    "render",
    "render_dance",
]
