"""A rendered camera network with complete ground truth: the embedded default.

`render` writes a street into a folder and `ensure` the default one under the data root; `Street` gives its single
pictures (`frame`, `crop`) without files. Everything is ray-cast on the CPU with Embree (the extra `street`).
"""

from __future__ import annotations

from reidentify.street.montage import montage
from reidentify.street.render import ensure, opened, render
from reidentify.street.wardrobe import SIGHTING_VALUES, VALUES
from reidentify.street.world import Crop, Frame, Settings, Street, frame

__all__ = [
    "SIGHTING_VALUES",
    "VALUES",
    "Crop",
    "Frame",
    "Settings",
    "Street",
    "ensure",
    "frame",
    "montage",
    "opened",
    "render",
]
