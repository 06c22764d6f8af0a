"""Where a person roughly is, told by the joints alone: discs and thick lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reidentify.errors import InputError
from reidentify.joints import joint_set
from reidentify.models.posemaps import seen

_HEIGHT = 256  # of the images that the radii and widths are published for
_JOINT, _HEAD = 10.0, 20.0  # radii of discs
_LIMB, _TORSO = 20 / 2, 30 / 2  # half the widths of lines
_SIDES = ("right", "left")
_CHAINS = ("nose", "eye", "ear"), ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")


def skeleton_masks(keypoints: Tensor, size: tuple[int, int], image: tuple[int, int]) -> Tensor:
    """Masks of people: a disc on every joint, a larger one on the nose, thick lines along limbs and across the torso.

    Radii, widths and lines are those of the released code of ST-ReIDNet (ICASSP 2020); they are scaled with the height.
    Market-1501's joints have no nose: it is taken in the middle between neck and top of the head, from where
    `joints.to_market14` sets that top. Both diagonals of the torso are drawn; the original loses one of 18 joints
    because its table names a joint that does not exist.

    Args:
        keypoints: N x J x 3 of any known set of joints: x, y in pixels of the image, and visibility.
        size: h, w of the masks, which cover the whole image.
        image: H, W.

    Returns:
        N x 1 x h x w, float32: 1 where the centre of a cell lies on the skeleton, else 0. A joint that is not seen
        (`posemaps.seen`) is left out, with every line that ends in it.

    Raises:
        InputError: keypoints of another shape, or of an unknown number of joints.
    """
    if keypoints.ndim != 3 or keypoints.shape[-1] != 3:
        raise InputError(f"keypoints: expected N x J x 3, got {' x '.join(map(str, keypoints.shape))}")
    names = list(joint_set(keypoints.shape[1]).joints)
    there = seen(keypoints, image) > 0
    places = torch.where(there[..., None], keypoints[..., :2].float(), 0.0)
    if "nose" not in names:
        around = [names.index("head top"), names.index("neck")]
        places = torch.cat([places, places[:, around].mean(1, keepdim=True)], 1)
        there = torch.cat([there, there[:, around].all(1, keepdim=True)], 1)
        names.append("nose")

    def centres(cells: int, pixels: int) -> Tensor:
        return (torch.arange(cells, device=places.device) + 0.5) * (pixels / cells) - 0.5

    y, x = centres(size[0], image[0])[:, None], centres(size[1], image[1])
    masks = torch.zeros(len(places), *size, dtype=torch.bool, device=places.device)
    for a, b, radius in _lines(names):
        start, way = places[:, a], places[:, b] - places[:, a]
        (x0, y0), (dx, dy) = start.T[..., None, None], way.T[..., None, None]
        # How far along the line its nearest point is, from 0 to 1; a disc is a line of length 0.
        along = (((x - x0) * dx + (y - y0) * dy) / (dx**2 + dy**2).clamp(min=1e-9)).clamp(0, 1)
        near = (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2 <= (radius * image[0] / _HEIGHT) ** 2
        masks |= near & (there[:, a] & there[:, b])[:, None, None]
    return masks[:, None].float()


def _lines(names: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """What a mask is made of: two joints by their places among the names, and a radius. One joint twice is a disc."""
    lines = [(name, name, _HEAD if name == "nose" else _JOINT) for name in names]
    for side in _SIDES:
        for chain in _CHAINS:
            joints = [name if name == "nose" else f"{side} {name}" for name in chain]
            lines += [(a, b, _LIMB) for a, b in itertools.pairwise(joints)]
        lines += [(f"{side} shoulder", f"{other} hip", _TORSO) for other in _SIDES]
        if "neck" in names:
            lines += [("neck", f"{side} {joint}", _TORSO) for joint in ("shoulder", "hip")]
        else:
            lines.append(("nose", f"{side} shoulder", _TORSO))
    lines.append(("right hip", "left hip", _TORSO))
    lines.append(("nose", "neck", _TORSO) if "neck" in names else ("right shoulder", "left shoulder", _TORSO))
    for a, b, radius in lines:
        if a in names and b in names:
            yield names.index(a), names.index(b), radius
