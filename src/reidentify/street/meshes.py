"""Triangle meshes put together from lofted tubes, boxes and sheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with what a shader wants to know of them.

    Args:
        vertices: V x 3, metres.
        faces: F x 3, int32.
        normals: V x 3, unit length.
        uv: V x 2, metres along the surface.
        material: F, int32; what a number means is up to the shader.
        tint: F x 3, linear RGB.
    """

    vertices: F32
    faces: NDArray[np.int32]
    normals: F32
    uv: F32
    material: NDArray[np.int32]
    tint: F32

    @staticmethod
    def join(parts: Sequence[Mesh]) -> Mesh:
        """All parts as one mesh, in order."""
        starts = np.cumsum([0, *(len(p.vertices) for p in parts)])
        return Mesh(
            np.concatenate([p.vertices for p in parts]),
            np.concatenate([p.faces + np.int32(s) for p, s in zip(parts, starts)]),
            np.concatenate([p.normals for p in parts]),
            np.concatenate([p.uv for p in parts]),
            np.concatenate([p.material for p in parts]),
            np.concatenate([p.tint for p in parts]),
        )

    def moved(self, offset: ArrayLike = (0, 0, 0), turn: float = 0.0) -> Mesh:
        """Turned by `turn` radians about the vertical axis, then shifted."""
        c, s = np.cos(turn), np.sin(turn)
        spin = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)  # transposed: rows are vectors
        vertices = self.vertices @ spin + np.asarray(offset, np.float32)
        return Mesh(vertices, self.faces, self.normals @ spin, self.uv, self.material, self.tint)


def dressed(vertices: F32, faces: NDArray[np.int32], normals: F32, uv: F32, material: int, tint: ArrayLike) -> Mesh:
    """A mesh of one material and one tint."""
    n = len(faces)
    colours = np.broadcast_to(np.asarray(tint, np.float32), (n, 3)).copy()
    return Mesh(vertices, faces, normals, uv, np.full(n, material, np.int32), colours)


def grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    """Triangles of a rows x columns grid of vertices (row by row)."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    b, c, d = a + 1, a + columns, a + columns + 1
    return np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)]).astype(np.int32)


def vertex_normals(vertices: F32, faces: NDArray[np.int32]) -> F32:
    """Unit normals, each the area-weighted mean of the faces around a vertex."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, faces[:, k], across)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True, eq=False)
class Tube:
    """A lofted tube along z: `rings` rings of `columns` vertices; the seam column is there twice.

    Args:
        vertices: (rings * columns + 2) x 3; the last two close the lower and the upper end.
        faces: F x 3.
        normals: as the vertices.
        u: metres around the tube, as the vertices; zero at +y, positive towards +x.
    """

    vertices: F32
    faces: NDArray[np.int32]
    normals: F32
    u: F32


def tube(rings: ArrayLike, segments: int, squareness: float = 2.0) -> Tube:
    """Skin a column of ellipses.

    Args:
        rings: R x 5: centre x, y, z, half-width in x, half-width in y, from one end to the other.
        segments: vertices around.
        squareness: exponent of the superellipse; 2 is an ellipse, 4 a rounded rectangle.
    """
    ring = np.asarray(rings, np.float64)
    angle = np.linspace(-np.pi, np.pi, segments + 1)
    sin, cos = np.sin(angle), np.cos(angle)
    sx = np.sign(sin) * np.abs(sin) ** (2 / squareness)
    sy = np.sign(cos) * np.abs(cos) ** (2 / squareness)
    x = ring[:, 0:1] + ring[:, 3:4] * sx
    y = ring[:, 1:2] + ring[:, 4:5] * sy
    z = np.broadcast_to(ring[:, 2:3], x.shape)
    rows, columns = x.shape
    vertices = np.concatenate([np.stack([x, y, z], -1).reshape(-1, 3), ring[[0, -1], :3]])
    faces = grid_faces(rows, columns)
    j = np.arange(columns - 1)
    low, high = rows * columns, rows * columns + 1
    top = (rows - 1) * columns
    faces = np.concatenate(
        [
            faces,
            np.stack([np.full_like(j, low), j + 1, j], 1),
            np.stack([np.full_like(j, high), top + j, top + j + 1], 1),
        ]
    )
    if ring[-1, 2] > ring[0, 2]:
        faces = faces[:, ::-1]
    vertices, faces = vertices.astype(np.float32), np.ascontiguousarray(faces, np.int32)
    normals = vertex_normals(vertices, faces)
    body = normals[: rows * columns].reshape(rows, columns, 3)
    body[:, 0] += body[:, -1]  # the two copies of the seam share one normal
    body[:, 0] /= np.maximum(np.linalg.norm(body[:, 0], axis=1, keepdims=True), 1e-12)
    body[:, -1] = body[:, 0]
    around = angle * float(np.mean(ring[:, 3:5]))
    u = np.concatenate([np.tile(around, rows), [0, 0]]).astype(np.float32)
    return Tube(vertices, faces, normals, u)


def pillar(rings: ArrayLike, segments: int, material: int, tint: ArrayLike, squareness: float = 2.0) -> Mesh:
    """A tube as a mesh of one material."""
    t = tube(rings, segments, squareness)
    return dressed(t.vertices, t.faces, t.normals, np.stack([t.u, t.vertices[:, 2]], 1), material, tint)


_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
_SIDES = np.array([[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]])
_SIDE_NORMALS = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]], np.float32)


def box(size: ArrayLike, centre: ArrayLike, material: int, tint: ArrayLike) -> Mesh:
    """A box with flat sides; uv are metres along each side (along the ground and up for the walls)."""
    half = np.asarray(size, np.float32) / 2
    corners = _CORNERS * half
    vertices = corners[_SIDES].reshape(-1, 3)
    normals = np.repeat(_SIDE_NORMALS, 4, axis=0)
    start = 4 * np.arange(6)[:, None]
    faces = np.concatenate([start + np.array([0, 1, 2]), start + np.array([0, 2, 3])]).astype(np.int32)
    along = np.where(np.abs(normals[:, 0:1]) > 0.5, vertices[:, 1:2], vertices[:, 0:1])
    up = np.where(np.abs(normals[:, 2:3]) > 0.5, vertices[:, 1:2], vertices[:, 2:3])
    moved = vertices + np.asarray(centre, np.float32)
    return dressed(moved, faces, normals, np.concatenate([along, up], 1), material, tint)


def sheet(corners: ArrayLike, material: int, tint: ArrayLike, normal: ArrayLike | None = None) -> Mesh:
    """A flat four-cornered sheet; uv are metres from the first corner along the first and the last edge."""
    points = np.asarray(corners, np.float32)
    u, v = points[1] - points[0], points[3] - points[0]
    up = np.cross(u, v) if normal is None else np.asarray(normal, np.float32)
    normals = np.tile(up / np.linalg.norm(up), (4, 1)).astype(np.float32)
    lu, lv = np.linalg.norm(u), np.linalg.norm(v)
    uv = np.array([[0, 0], [lu, 0], [lu, lv], [0, lv]], np.float32)
    return dressed(points, np.array([[0, 1, 2], [0, 2, 3]], np.int32), normals, uv, material, tint)


def sheets(corners: F32, normals: F32, material: int, tint: F32) -> Mesh:
    """Many small four-cornered sheets (leaves). `corners` is N x 4 x 3, `normals` N x 3, `tint` N x 3."""
    n = len(corners)
    start = 4 * np.arange(n, dtype=np.int32)[:, None]
    faces = np.stack([start + np.array([0, 1, 2]), start + np.array([0, 2, 3])], 1).reshape(-1, 3).astype(np.int32)
    uv = np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), (n, 1))
    spread = np.repeat(normals, 4, axis=0).astype(np.float32)
    return Mesh(
        corners.reshape(-1, 3).astype(np.float32), faces, spread, uv,
        np.full(2 * n, material, np.int32), np.repeat(tint, 2, axis=0).astype(np.float32),
    )  # fmt: skip
