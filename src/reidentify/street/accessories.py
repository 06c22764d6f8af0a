"""Hats and bags."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reidentify.street import skeleton as sk
from reidentify.street.meshes import box, tube
from reidentify.street.tailor import BAG, BAG2, HAT, Tailor, ring_rows
from reidentify.street.wardrobe import Look


def put_on_hat(t: Tailor, h: float, base: float, kind: str, thick: float) -> None:
    """A hat of a kind of `VALUES["hat"]` over hair `thick` metres thick; `base` is the height of the chin."""
    if kind == "none":
        return
    start, crown = {"cap": (0.092, 0.145), "beanie": (0.080, 0.152), "brim": (0.094, 0.158)}[kind]
    s = np.linspace(0, 1, 7)
    z = start + (crown - start) * np.sin(s * np.pi / 2)
    shrink = np.sqrt(np.maximum(1 - s**2.4, 0.003))
    gap = 0.006 * h + 0.6 * thick
    dome = np.stack([0 * s, 0.002 * h + 0 * s, base + z * h, (0.043 * h + gap) * shrink, (0.055 * h + gap) * shrink], 1)
    t.add(tube(dome, 14), HAT, sk.HEAD)
    if kind == "cap":
        visor = [
            (0, 0.068 * h, base + 0.094 * h, 0.036 * h, 0.046 * h),
            (0, 0.068 * h, base + 0.099 * h, 0.034 * h, 0.044 * h),
        ]
        t.add(tube(visor, 14, 2.6), HAT, sk.HEAD)
    if kind == "brim":
        brim = [
            (0, 0.003 * h, base + 0.096 * h, 0.086 * h, 0.096 * h),
            (0, 0.003 * h, base + 0.101 * h, 0.084 * h, 0.094 * h),
        ]
        t.add(tube(brim, 20), HAT, sk.HEAD)


def hang_bag(t: Tailor, look: Look, o: NDArray[np.float64], kind: str) -> None:
    """A bag of a kind of `VALUES["bag"]`, bound to back, hip or hand."""
    h, side = look.height, look.side
    if kind == "backpack":
        s = np.linspace(-1, 1, 9)
        bulge = (1 - np.abs(s) ** 3.5) ** 0.4 + 0.02
        size = 0.95 + 0.1 * (look.seed % 4)
        wide, deep = 0.078 * h * size * np.minimum(bulge, 1), 0.047 * h * size * np.minimum(bulge, 1)
        back = -(0.064 * (0.35 + 0.65 * look.girth) + 0.045 * size) * h
        rings = np.stack([0 * s, back + 0 * s, (0.700 + 0.118 * size * s) * h, wide, deep], 1)
        pack = tube(rings, 12, 3.2)
        row = ring_rows(pack, 12)
        pocket = (row < 4) & (pack.vertices[pack.faces][:, :, 1].mean(axis=1) < back)
        t.add(pack, np.where(pocket, BAG2, BAG), sk.CHEST)
    elif kind == "shoulder bag":
        y = -(0.076 * h * (0.35 + 0.65 * look.girth) + 0.055)
        pouch = box((0.33, 0.10, 0.25), (side * 0.055 * h, y, 0.53 * h), BAG, (1, 1, 1))
        t.add((pouch.vertices, pouch.faces, pouch.normals, pouch.uv[:, 0]), BAG, sk.PELVIS)
    elif kind in ("handbag", "shopping bag"):
        held = sk.R_HELD if side > 0 else sk.L_HELD
        x, y, z = o[held]
        sizes = (0.11, 0.28, 0.20, 0.11) if kind == "handbag" else (0.15, 0.32, 0.36, 0.09)
        width, depth, tall, drop = sizes
        top = z - drop
        outline = [
            (x + 0.03 * side, y, top - k * tall, (0.5 - 0.12 * (k == 0)) * width, 0.5 * depth)
            for k in (0.0, 0.12, 0.9, 1.0)
        ]
        t.add(tube(outline, 16, 6.0), BAG, held)
        for dx in (-0.3, 0.3):
            for dy in (-0.28, 0.28):
                strap = np.array([(x + 0.03 * side + dx * width, y + dy * depth, top - 0.01, 0.007, 0.007),
                                  (x, y + 0.1 * dy * depth, z - 0.005, 0.007, 0.007)])  # fmt: skip
                t.add(tube(strap, 6), BAG2, held)
    elif kind == "suitcase":
        levels = ((0.05, 0.17, 0.08), (0.07, 0.19, 0.10), (0.53, 0.19, 0.10), (0.55, 0.17, 0.08))
        t.add(tube([(0, -0.13, z, wide, deep) for z, wide, deep in levels], 16, 5.0), BAG, sk.TRAILED)
        for x in (-0.08, 0.08):
            t.add(tube([(x, -0.03, 0.5, 0.008, 0.008), (x, 0.0, 0.855, 0.008, 0.008)], 6), BAG2, sk.TRAILED)
            wheel = box((0.03, 0.06, 0.06), (x * 1.6, -0.05, 0.04), BAG2, (1, 1, 1))
            t.add((wheel.vertices, wheel.faces, wheel.normals, wheel.uv[:, 0]), BAG2, sk.TRAILED)
        bar = box((0.18, 0.025, 0.025), (0, 0, sk.SUITCASE_REACH), BAG2, (1, 1, 1))
        t.add((bar.vertices, bar.faces, bar.normals, bar.uv[:, 0]), BAG2, sk.TRAILED)
