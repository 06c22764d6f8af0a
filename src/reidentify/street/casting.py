"""Rays against triangles: a thin wrapper around Embree, the only module that imports it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Hits:
    """The first surface each of N rays meets.

    Args:
        distance: N, float32, in units of the direction's length; infinity where nothing is met.
        face: N, int32; -1 where nothing is met.
        weights: N x 3, float32: barycentric weights of the face's three vertices.
    """

    distance: F32
    face: NDArray[np.int32]
    weights: F32

    @staticmethod
    def none() -> Hits:
        """The hits of no rays."""
        return Hits(np.empty(0, np.float32), np.empty(0, np.int32), np.empty((0, 3), np.float32))

    def at(self, rows: NDArray[np.intp]) -> Hits:
        """Those of some rays."""
        return Hits(self.distance[rows], self.face[rows], self.weights[rows])


class Caster:
    """Triangles ready to be met by rays.

    Args:
        vertices: V x 3.
        faces: F x 3, indices into the vertices.

    Raises:
        InputError: Embree is not installed.
    """

    def __init__(self, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError:
            raise InputError("rendering the street needs Embree: pip install 'reidentify[street]'") from None
        self._scene = EmbreeScene()
        # The mesh object must outlive the scene that reads its buffers.
        self._mesh = TriangleMesh(
            self._scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)
        )

    def first(self, origins: F32, directions: F32) -> Hits:
        """The first hit of each ray. `origins` is N x 3, or 3 for rays from one point; `directions` is N x 3."""
        out = self._scene.run(*_rays(origins, directions), query="INTERSECT", output=1)
        face, u, v = out["primID"], out["u"], out["v"]
        distance = np.where(face >= 0, out["tfar"], np.float32(np.inf))
        return Hits(distance, face, np.stack([1 - u - v, u, v], axis=1))

    def blocked(self, origins: F32, directions: F32, reach: float | F32 = 1e6) -> NDArray[np.bool_]:
        """Whether anything lies within `reach` (scalar or N, units of the direction's length) along each ray."""
        starts, rays = _rays(origins, directions)
        reaches = np.array(np.broadcast_to(np.asarray(reach, np.float32), len(rays)))
        hit: NDArray[np.bool_] = self._scene.run(starts, rays, dists=reaches, query="OCCLUDED") == 0
        return hit


def dot(a: F32, b: F32) -> F32:
    """Products of N vectors with N others, or with one. N."""
    product: F32 = np.einsum("ni,ni->n", a, b) if b.ndim == 2 else a @ b
    return product


def halved(samples: F32) -> F32:
    """Means of 2 x 2 samples: 2H x 2W (x C) to H x W (x C)."""
    return (samples[::2, ::2] + samples[1::2, ::2] + samples[::2, 1::2] + samples[1::2, 1::2]) * np.float32(0.25)


def _rays(origins: F32, directions: F32) -> tuple[F32, F32]:
    rays = np.require(directions, np.float32, ["C", "W"])  # Embree's binding takes writable arrays only
    return np.require(np.broadcast_to(np.asarray(origins, np.float32), rays.shape), np.float32, ["C", "W"]), rays
