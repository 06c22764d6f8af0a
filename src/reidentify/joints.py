"""Names of body joints: the published sets, which of them change places in a mirror, and one set for all networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.errors import InputError


@dataclass(frozen=True)
class JointSet:
    """A published set of joints.

    Args:
        name: what it is called.
        joints: their names in order; a left one and its right one differ in that word alone.
        limbs: pairs of names that a bone connects, for pictures and masks.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, name: str) -> int:
        """Place of a joint in the order."""
        return self.joints.index(name)

    @property
    def mirrored(self) -> list[int]:
        """For each joint the one that takes its place in a mirror image."""
        other = {"left": "right", "right": "left"}
        return [self.index(" ".join(other.get(word, word) for word in name.split())) for name in self.joints]


def _sides(*joints: str, order: tuple[str, str] = ("right", "left")) -> tuple[str, ...]:
    return tuple(f"{side} {joint}" for side in order for joint in joints)


def _pairs(*joints: str) -> tuple[str, ...]:
    """As COCO orders them: left and right of each joint side by side."""
    return tuple(f"{side} {joint}" for joint in joints for side in ("left", "right"))


_BODY = tuple(
    (f"{side} {a}", f"{side} {b}")
    for side in ("right", "left")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"))
)
_NECK = (("neck", "right shoulder"), ("neck", "left shoulder"))
_FACE = tuple((a, f"{side} {b}") for side in ("right", "left") for a, b in (("nose", "eye"), (f"{side} eye", "ear")))
_ACROSS = (("right shoulder", "left shoulder"), ("right hip", "left hip"))

_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
MARKET14 = JointSet(
    "market-14",
    ("head top", "neck", *_sides(*_ARM), *_sides(*_LEG)),
    (("head top", "neck"), *_NECK, *_BODY),
)
"""The 14 joints of the Market-1501 files, of the street, and of every network here."""
COCO17 = JointSet("coco-17", ("nose", *_pairs("eye", "ear", *_ARM, *_LEG)), (*_FACE, *_ACROSS, *_BODY))
"""COCO's key points (Lin et al. 2014)."""
OPENPOSE18 = JointSet(
    "openpose-18",
    ("nose", "neck", *_sides(*_ARM), *_sides(*_LEG), "right eye", "left eye", "right ear", "left ear"),
    (("nose", "neck"), *_NECK, *_FACE, *_BODY),
)
"""COCO's with a neck between the shoulders, in OpenPose's order (Cao et al. 2017)."""

SETS = {len(joints): joints for joints in (MARKET14, COCO17, OPENPOSE18)}


def joint_set(count: int) -> JointSet:
    """The set of so many joints.

    Raises:
        InputError: none is known.
    """
    if count not in SETS:
        known = ", ".join(map(str, SETS))
        raise InputError(f"keypoints: which of {count} joints are left and right is unknown; sets of {known} are known")
    return SETS[count]


def mirrored_joints(count: int) -> list[int]:
    """For each of `count` joints the one that takes its place in a mirror image. Raises as `joint_set`."""
    return joint_set(count).mirrored


def to_market14(keypoints: ArrayLike) -> NDArray[np.float32]:
    """Joints of any known set as Market's 14, by name.

    A neck that a set lacks is the middle of the shoulders, as visible as the less visible of them. No set but Market's
    own has the top of the head: it is set as far above the middle of the face's joints (nose, eyes, ears) as the neck
    is below it, unseen where the face or the neck is.

    Args:
        keypoints: ... x J x 3: x, y in pixels, and visibility from 0 to 1, or NaN where that is unknown.

    Returns:
        ... x 14 x 3, float32. Of a frame of which all visibilities are NaN, they stay so.

    Raises:
        InputError: another shape, or `joint_set` knows no set of J joints.
    """
    given = np.asarray(keypoints, np.float32)
    if given.ndim < 2 or given.shape[-1] != 3:
        raise InputError(f"keypoints: expected ... x J x 3, got {' x '.join(map(str, given.shape))}")
    known = joint_set(given.shape[-2])
    if known is MARKET14:
        return given
    found = np.zeros((*given.shape[:-2], len(MARKET14), 3), np.float32)
    for place, name in enumerate(MARKET14.joints):
        if name in known.joints:
            found[..., place, :] = given[..., known.index(name), :]
    neck, head = MARKET14.index("neck"), MARKET14.index("head top")
    if "neck" not in known.joints:
        shoulders = found[..., [MARKET14.index(f"{side} shoulder") for side in ("right", "left")], :]
        found[..., neck, :2] = shoulders[..., :2].mean(-2)
        found[..., neck, 2] = shoulders[..., 2].min(-1)
    face = given[..., [i for i, n in enumerate(known.joints) if n.split()[-1] in ("nose", "eye", "ear")], :]
    weight = np.where(face[..., 2:] > 0, face[..., 2:], 0)
    total = weight.sum(-2)
    seen = np.where(weight > 0, face[..., :2], 0)  # an unseen joint may have any coordinates, NaN too
    middle = (seen * weight).sum(-2) / np.where(total > 0, total, 1)
    found[..., head, :2] = 2 * middle - found[..., neck, :2]
    found[..., head, 2] = np.minimum(weight.max(-2)[..., 0], found[..., neck, 2])
    return found
