"""Binds pieces of skin and cloth to bones: what bodies, hats and bags are sewn with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.street.meshes import Tube

F32 = NDArray[np.float32]

MATERIALS = ("skin", "hair", "upper", "lower", "shoes", "sole", "hat", "bag", "bag2", "parcel")
SKIN, HAIR, UPPER, LOWER, SHOES, SOLE, HAT, BAG, BAG2, PARCEL = range(10)


@dataclass
class Tailor:
    """Collects bound pieces: vertices, normals, metres around, bone pairs, weights, faces, materials."""

    pieces: list[tuple[F32, F32, F32, NDArray[np.int32], F32, NDArray[np.int32], NDArray[np.int32]]] = field(
        default_factory=list
    )

    def add(
        self,
        shape: Tube | tuple[F32, NDArray[np.int32], F32, F32],
        material: int | NDArray[np.int32],
        bones: ArrayLike,
        weights: ArrayLike | None = None,
    ) -> None:
        """Add a piece bound to one bone, or to two per vertex with the weight of the second."""
        if isinstance(shape, Tube):
            shape = (shape.vertices, shape.faces, shape.normals, shape.u)
        vertices, faces, normals, u = shape
        n = len(vertices)
        pair = np.broadcast_to(np.asarray(bones, np.int32).reshape(-1, 1 if np.ndim(bones) == 0 else 2), (n, 2))
        second = np.zeros(n) if weights is None else np.asarray(weights)
        w = np.stack([1 - second, second], 1).astype(np.float32)
        painted = np.broadcast_to(np.asarray(material, np.int32), len(faces))
        self.pieces.append((vertices, normals, u, pair, w, faces, painted))


def ease(x: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
    """0 below `low`, 1 above `high`, smooth between."""
    w = np.clip((x - low) / (high - low), 0, 1)
    return w * w * (3 - 2 * w)


def ring_rows(t: Tube, segments: int) -> NDArray[np.int32]:
    """The lower ring of each face of a tube (the caps count as their ring)."""
    rows = (len(t.vertices) - 2) // (segments + 1)
    ring = np.concatenate([np.repeat(np.arange(rows), segments + 1), [0, rows - 1]])
    return ring[t.faces].min(axis=1)
