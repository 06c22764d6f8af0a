"""Colours of the street: paving, asphalt, walls with windows, leaves, as functions of the place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reidentify.street import props as pr
from reidentify.street.noise import cells, rough, smooth

F32 = NDArray[np.float32]


def surface(
    material: NDArray[np.int32], tint: F32, uv: F32, points: F32, normals: F32, lit: float = 0.4
) -> tuple[F32, F32]:
    """Albedo and own glow (as lamp light) at N points of the scenery.

    Args:
        material, tint, uv: of the mesh at the points: N, N x 3, N x 2.
        points, normals: N x 3, metres.
        lit: share of the windows behind which a light burns at dusk.

    Returns:
        Albedo N x 3, linear, and glow N.
    """
    albedo = tint.copy()
    glow = np.zeros(len(tint), np.float32)
    for kind in np.unique(material):
        at = np.flatnonzero(material == kind)
        p, n = points[at], normals[at]
        if kind == pr.FACADE:
            albedo[at], glow[at] = _facade(albedo[at], uv[at], p, n, lit)
        elif kind == pr.GLASS:
            albedo[at] *= (0.6 + 1.6 * smooth(2 * p[:, 0], 3 * p[:, 2] + 2 * p[:, 1], 5))[:, None]
        elif kind == pr.LAMP:
            glow[at] = 3.0
        elif kind == pr.POSTER:
            albedo[at] = _poster(uv[at])
            glow[at] = 0.15
        elif kind == pr.BARK:
            albedo[at] *= (0.6 + 0.8 * rough(14 * (p[:, 0] + p[:, 1]), 3 * p[:, 2], 2, 9))[:, None]
        elif kind == pr.WOOD:
            albedo[at] *= (0.7 + 0.6 * smooth(2 * p[:, 0], 60 * p[:, 2] + 60 * p[:, 1], 4))[:, None]
        elif kind in _GROUNDS:
            albedo[at] = _GROUNDS[kind](albedo[at], p[:, 0], p[:, 1])
    return albedo, glow


def _tiles(
    x: F32, y: F32, wide: float, deep: float, joint: float, shift: float, seed: int
) -> tuple[F32, NDArray[np.bool_]]:
    """A value per tile and which points lie in the joints; every other row is shifted."""
    row = np.floor(y / deep)
    across = x / wide + shift * np.mod(row, 2)
    column = np.floor(across)
    fx, fy = (across - column) * wide, (y / deep - row) * deep
    between = (np.minimum(fx, wide - fx) < joint) | (np.minimum(fy, deep - fy) < joint)
    return cells(column.astype(np.int64), row.astype(np.int64), seed), between


def _stains(x: F32, y: F32) -> F32:
    return 0.78 + 0.44 * rough(0.45 * x + 31, 0.45 * y + 7, 3, 3)


def _paving(albedo: F32, x: F32, y: F32) -> F32:
    tone, joint = _tiles(x, y, 0.40, 0.40, 0.008, 0.5, 1)
    value = (
        (0.86 + 0.28 * tone) * np.where(joint, 0.62, 1.0) * _stains(x, y) * (0.94 + 0.12 * smooth(40 * x, 40 * y, 2))
    )
    return albedo * value[:, None].astype(np.float32)


def _slabs(albedo: F32, x: F32, y: F32) -> F32:
    tone, joint = _tiles(x, y, 1.2, 0.8, 0.012, 0.5, 6)
    value = (
        (0.84 + 0.32 * tone) * np.where(joint, 0.55, 1.0) * _stains(x, y) * (0.94 + 0.12 * smooth(30 * x, 30 * y, 2))
    )
    return albedo * value[:, None].astype(np.float32)


def _cobbles(albedo: F32, x: F32, y: F32) -> F32:
    warp = 0.02 * smooth(6 * x, 6 * y, 8)
    tone, joint = _tiles(x + warp, y + warp, 0.17, 0.13, 0.012, 0.5, 7)
    value = (0.72 + 0.56 * tone) * np.where(joint, 0.5, 1.0) * _stains(x, y)
    return albedo * value[:, None].astype(np.float32)


def _asphalt(albedo: F32, x: F32, y: F32) -> F32:
    value = (0.75 + 0.5 * smooth(34 * x, 34 * y, 12)) * _stains(0.6 * x, 0.6 * y)
    cracks = np.abs(rough(0.5 * x, 0.5 * y, 3, 21) - 0.5) < 0.004
    return albedo * np.where(cracks, 0.55, value)[:, None].astype(np.float32)


def _grass(albedo: F32, x: F32, y: F32) -> F32:
    blades = smooth(26 * x, 26 * y, 14)
    patches = rough(0.35 * x, 0.35 * y, 3, 15)
    value = (0.55 + 0.9 * blades) * (0.7 + 0.6 * patches)
    dry = np.clip(3 * patches - 1.6, 0, 0.6)[:, None]
    return (albedo * (1 - dry) + np.array([0.22, 0.17, 0.08], np.float32) * dry) * value[:, None].astype(np.float32)


def _gravel(albedo: F32, x: F32, y: F32) -> F32:
    value = (0.7 + 0.6 * smooth(45 * x, 45 * y, 16)) * _stains(x, y)
    return albedo * value[:, None].astype(np.float32)


_GROUNDS = {
    pr.PAVING: _paving, pr.SLABS: _slabs, pr.COBBLES: _cobbles, pr.ASPHALT: _asphalt, pr.GRASS: _grass,
    pr.GRAVEL: _gravel,
}  # fmt: skip


def _poster(uv: F32) -> F32:
    i, j = np.floor(uv[:, 0] / 0.62).astype(np.int64), np.floor(uv[:, 1] / 0.9).astype(np.int64)
    fx, fy = np.mod(uv[:, 0] / 0.62, 1), np.mod(uv[:, 1] / 0.9, 1)
    base = np.stack([cells(i, j, k) for k in (31, 32, 33)], 1) ** 2 * 0.7 + 0.05
    ink = smooth(5 * fx + 7 * i, 4 * fy + 5 * j, 34) > 0.55
    lines = (np.mod(fy * 14, 1) < 0.5) & (fy < 0.3) & (fx > 0.12) & (fx < 0.85)
    albedo = np.where((ink | lines)[:, None], 0.75 - 0.8 * base, base)
    edge = (np.minimum(fx, 1 - fx) < 0.03) | (np.minimum(fy, 1 - fy) < 0.02)
    return np.where(edge[:, None], 0.5, np.clip(albedo, 0.03, 0.75)).astype(np.float32)


def _facade(wall: F32, uv: F32, p: F32, n: F32, lit: float) -> tuple[F32, F32]:
    house, style = np.round(uv[:, 0]).astype(np.int64), np.round(uv[:, 1])
    along = np.where(np.abs(n[:, 0]) > 0.5, p[:, 1], p[:, 0])
    z = p[:, 2]
    bay = (2.4 + 1.2 * cells(house, house * 0, 41)).astype(np.float32)
    storey, ground = 3.3, 4.0
    shop = cells(house, house * 0, 42) < 0.65
    column = np.floor(along / bay)
    fx = along / bay - column
    level = np.floor((z - ground) / storey)
    fz = (z - ground) / storey - level
    upstairs = z > ground
    key_i, key_j = column.astype(np.int64), level.astype(np.int64) + 64 * house

    # Walls first: bricks, plaster or stone.
    tone, joint = _tiles(along, z, 0.24, 0.075, 0.006, 0.5, 43)
    bricks = (0.75 + 0.5 * tone) * np.where(joint, 1.25, 1.0)
    blocks, seam = _tiles(along, z, 0.9, 0.45, 0.008, 0.5, 44)
    stone = (0.9 + 0.2 * blocks) * np.where(seam, 0.7, 1.0)
    grime = 0.82 + 0.3 * rough(0.5 * along, 0.25 * z, 3, 45) - 0.15 * np.exp(-z / 0.5)
    finish = np.where(style == 1, bricks, np.where(style == 3, stone, 0.96 + 0.08 * smooth(20 * along, 20 * z, 46)))
    albedo = wall * (finish * grime)[:, None].astype(np.float32)

    half = np.where(style == 2, 0.46, 0.22 + 0.1 * cells(house, house * 0, 47))
    low, high = np.where(style == 2, 0.06, 0.24), np.where(style == 2, 0.96, 0.80)
    window = upstairs & (np.abs(fx - 0.5) < half) & (fz > low) & (fz < high)
    pane = (
        window & (np.abs(fx - 0.5) < half - 0.025) & (fz > low + 0.02) & (fz < high - 0.02) & (np.abs(fx - 0.5) > 0.008)
    )
    front = ~upstairs & (np.abs(fx - 0.5) < 0.43) & (z > 0.45) & (z < 2.9) & shop
    door = ~upstairs & (np.abs(fx - 0.5) < 0.2) & (z < 2.3) & (cells(key_i, house, 48) < 0.3)
    sign = ~upstairs & shop & (z > 3.05) & (z < 3.65)
    small = ~upstairs & ~shop & (np.abs(fx - 0.5) < half) & (z > 1.1) & (z < 2.6)
    pane |= small & (np.abs(fx - 0.5) < half - 0.025)

    albedo[window & ~pane] = 0.42
    albedo[sign] = (np.stack([cells(house, key_i // 3, k) for k in (51, 52, 53)], 1)[sign] ** 2) * 0.22 + 0.03
    chance = cells(key_i, key_j, 54)
    mirrored = 0.035 + 0.10 * smooth(0.7 * along + 0.4 * z, 0.5 * z, 55) * np.clip(0.3 + 0.25 * fz, 0, 1) * 2
    curtain = (cells(key_i, key_j, 56) < 0.3) & (np.mod(np.floor((fx - 0.5) * 40), 2) == 0)
    glass = np.where(curtain, 0.22, mirrored)[:, None] * np.array([0.85, 0.97, 1.1], np.float32)
    albedo = np.where(pane[:, None], glass, albedo)
    shelf = smooth(1.6 * along, 1.3 * z, 57) * (0.5 + 0.5 * smooth(6 * along, 5 * z, 58))
    hue = np.stack([smooth(0.8 * along + 9 * k, 0.9 * z, 59 + k) for k in range(3)], 1)
    wares = 0.015 + 0.10 * (shelf**2)[:, None] * (0.6 + 0.8 * hue)
    albedo = np.where((front & ~door)[:, None], wares, albedo)
    albedo = np.where(door[:, None], np.float32(0.05) + 0.1 * wall, albedo)
    glow = np.where(pane & (chance < lit), 0.15 + 0.35 * chance / max(lit, 1e-3), 0.0)
    glow = np.where(front & ~door, 0.15 + 0.55 * shelf, glow)
    glow = np.where(sign, 0.12, glow)
    return albedo.astype(np.float32), glow.astype(np.float32)
