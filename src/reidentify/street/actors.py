"""People on stage: a person of a visit, posed at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reidentify.street import skeleton as sk
from reidentify.street.body import Body
from reidentify.street.cameras import Camera
from reidentify.street.casting import Caster
from reidentify.street.cloth import Cloth
from reidentify.street.traffic import Presence
from reidentify.street.wardrobe import Look

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Person:
    """What stays the same of an identity: look, skin and colours."""

    look: Look
    body: Body
    cloth: Cloth


@dataclass(frozen=True, eq=False)
class Actor:
    """A person posed in a site at one moment.

    Args:
        person: who.
        visit: what they are about.
        pose: bones in the site.
        vertices, normals: V x 3; `faces`, `material`: F x 3 and F, what is shown of the skin.
        heading: radians.
        box: x0, y0, x1, y1 of the whole person in pixels of the frame, tight and unclipped.
        depth: metres from the camera along its axis.
    """

    person: Person
    visit: Presence
    pose: sk.Pose
    vertices: F32
    normals: F32
    faces: NDArray[np.int32]
    material: NDArray[np.int32]
    heading: float
    box: NDArray[np.float64]
    depth: float

    @cached_property
    def caster(self) -> Caster:
        """The posed skin, for rays."""
        return Caster(self.vertices, self.faces)

    def close_to(self, other: Actor) -> bool:
        """Whether one may cast a shadow on the other."""
        gap = self.pose.origins[sk.PELVIS, :2] - other.pose.origins[sk.PELVIS, :2]
        return bool(np.hypot(*gap) < 4.0)


def actor(person: Person, visit: Presence, time: float, camera: Camera) -> Actor:
    """Pose the person of a visit at `time` seconds."""
    look, stance = person.look, visit.stance(person.look, time)
    pose = sk.pose(person.body.origins, look.gait, stance)
    vertices, normals = person.body.posed(pose)
    shown = np.ones(len(person.body.faces), bool) if stance.carry else ~person.body.parcel
    used = vertices if stance.carry else vertices[: person.body.worn]
    pixels, depth = camera.project(used)
    box = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
    if depth.min() < 0.5:
        box[:] = -1e6
    heading = visit.place(time)[2]
    return Actor(
        person, visit, pose, vertices, normals, person.body.faces[shown], person.body.material[shown], heading, box,
        float(np.median(depth)),
    )  # fmt: skip
