"""Colours of people: skin, hair and cloth with their patterns, straps and faces, at points of the skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reidentify.street import skeleton as sk
from reidentify.street.noise import smooth
from reidentify.street.tailor import HAIR, LOWER, MATERIALS, SKIN, UPPER
from reidentify.street.wardrobe import VALUES, Look

F32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Cloth:
    """What the colour of a person's skin and clothes is made of.

    Args:
        look: of the person.
        origins: the bones at rest, BONES x 3, metres.
    """

    look: Look
    origins: NDArray[np.float64]

    def colour(self, material: NDArray[np.int32], rest: F32, around: F32) -> F32:
        """Albedo at N points: their material, their place at rest (N x 3) and metres around the limb. N x 3, linear."""
        look = self.look
        palette = np.stack([look.colours[name] for name in MATERIALS])
        albedo = palette[material]
        upper = np.flatnonzero(material == UPPER)
        if len(upper):
            albedo[upper] = self._upper(albedo[upper], rest[upper], around[upper])
        lower = np.flatnonzero(material == LOWER)
        if len(lower):
            albedo[lower] = self._lower(albedo[lower], rest[lower], around[lower])
        skin = np.flatnonzero((material == SKIN) & (rest[:, 2] > self.origins[sk.HEAD, 2]))
        if len(skin):
            albedo[skin] = self._face(albedo[skin], rest[skin])
        hair = np.flatnonzero(material == HAIR)
        if len(hair):
            strands = smooth(220 * rest[hair, 0] + 90 * rest[hair, 1], 14 * rest[hair, 2], look.seed % 997)
            albedo[hair] *= (0.7 + 0.6 * strands)[:, None]
        return albedo

    def wrinkles(self, rest: F32, around: F32) -> tuple[F32, F32]:
        """Tilt of the normals of cloth around and along the body at N points, radians."""
        s = self.look.seed % 1000
        folds = smooth(22 * around + 0.4 * s, 10 * rest[:, 2] + s, s)
        waves = smooth(9 * around + s, 30 * rest[:, 2], s + 2)
        return 0.6 * (folds - 0.5), 0.45 * (waves - 0.5)

    def _upper(self, albedo: F32, rest: F32, around: F32) -> F32:
        look, h = self.look, self.look.height
        pattern = VALUES["pattern"][look.attributes["pattern"]]
        second = look.colours["upper2"]
        along, up = (rest[:, 2], around) if look.turn == 0 else (around, rest[:, 2])
        trunk = np.abs(rest[:, 0]) < 0.135 * h
        if pattern == "stripes":
            lines = (np.mod(along / look.scale, 1.0) < 0.42)[:, None]
            albedo = np.where(lines, second, albedo)
        elif pattern == "checks":
            a = np.mod(along / look.scale, 1.0) < 0.45
            b = np.mod(up / look.scale, 1.0) < 0.45
            albedo = albedo + (second - albedo) * (0.5 * a + 0.5 * b)[:, None].astype(np.float32)
        elif pattern == "two-tone":
            style = look.seed % 3
            if style == 0:  # another colour above the chest
                marked = rest[:, 2] > 0.725 * h
            elif style == 1:  # sleeves of another colour
                marked = ~trunk | (np.abs(rest[:, 0]) > 0.1 * h) & (rest[:, 2] > 0.7 * h)
            else:  # a broad band across the chest
                marked = (rest[:, 2] > 0.68 * h) & (rest[:, 2] < 0.745 * h)
            albedo = np.where(marked[:, None], second, albedo)
        elif pattern == "print":
            if look.seed % 2:  # all over
                spots = (
                    smooth(around / (0.5 * look.scale) + 50, rest[:, 2] / (0.5 * look.scale), look.seed % 991) > 0.62
                )
            else:  # a picture on the front
                x, z = rest[:, 0] / (0.062 * h), (rest[:, 2] - 0.715 * h) / (0.052 * h)
                blot = smooth(3 * x + 9, 3 * z + 9, look.seed % 991)
                spots = (np.maximum(np.abs(x), np.abs(z)) < 1) & (blot > 0.36) & (rest[:, 1] > 0)
            albedo = np.where(spots[:, None], second, albedo)
        if look.attributes["upper_type"] and pattern != "print":  # a zip, or the shirt under an open jacket
            gap = 0.004 if look.seed % 3 else 0.03 * h
            opening = (np.abs(rest[:, 0]) < gap * _opening(rest[:, 2] / h)) & (rest[:, 1] > 0.02)
            albedo = np.where(opening[:, None], second * np.float32(0.8), albedo)
        return self._straps(albedo, rest)

    def _straps(self, albedo: F32, rest: F32) -> F32:
        look, h = self.look, self.look.height
        bag = VALUES["bag"][look.attributes["bag"]]
        if bag == "backpack":
            front = rest[:, 1] > -0.02 * h
            strap = (np.abs(np.abs(rest[:, 0]) - 0.062 * h) < 0.013 * h) & (rest[:, 2] > 0.64 * h) & front
            albedo = np.where(strap[:, None], look.colours["bag2"], albedo)
        elif bag == "shoulder bag":
            line = look.side * 0.09 * h * (0.69 * h - rest[:, 2]) / (0.13 * h)
            strap = (np.abs(rest[:, 0] - line) < 0.012 * h) & (np.abs(rest[:, 0]) < 0.1 * h)
            albedo = np.where(strap[:, None], look.colours["bag2"], albedo)
        return albedo

    def _lower(self, albedo: F32, rest: F32, around: F32) -> F32:
        look, h = self.look, self.look.height
        fade = smooth(5 * rest[:, 0] + 3, 4 * rest[:, 2], look.seed % 983)
        albedo = albedo * (0.85 + 0.3 * fade)[:, None]
        if VALUES["lower_type"][look.attributes["lower_type"]] == "skirt":
            if look.seed % 5 == 0:
                albedo = np.where((np.mod(rest[:, 2] / look.scale, 1.0) < 0.4)[:, None], look.colours["upper2"], albedo)
            if look.seed % 2:  # tights below the hem stay dark
                below = rest[:, 2] < 0.16 * h
                albedo = np.where(below[:, None], albedo * np.float32(0.5), albedo)
        elif look.seed % 9 == 0:  # a line down the outside of the leg
            outside = np.abs(rest[:, 0]) > 0.5 * h * 0.17
            albedo = np.where((outside & (rest[:, 2] < 0.5 * h))[:, None], look.colours["upper2"], albedo)
        belt = (rest[:, 2] > 0.555 * h) & (rest[:, 2] < 0.572 * h)
        return np.where(belt[:, None], albedo * np.float32(0.3), albedo)

    def _face(self, albedo: F32, rest: F32) -> F32:
        h = self.look.height
        base = self.origins[sk.NECK, 2] + 0.02 * h
        x, up, front = rest[:, 0] / h, (rest[:, 2] - base) / h, rest[:, 1] > 0.02 * h
        eyes = front & (np.abs(np.abs(x) - 0.018) < 0.009) & (np.abs(up - 0.069) < 0.0045)
        brows = front & (np.abs(np.abs(x) - 0.018) < 0.011) & (np.abs(up - 0.080) < 0.003)
        mouth = front & (np.abs(x) < 0.014) & (np.abs(up - 0.029) < 0.004)
        tone = np.where(eyes, 0.25, np.where(brows, 0.45, np.where(mouth, 0.6, 1.0))).astype(np.float32)
        if self.look.attributes["hair"] <= 3 and self.look.seed % 3 == 0:  # a beard
            beard = front & (up < 0.036) & ~mouth
            albedo = np.where(beard[:, None], self.look.colours["hair"] * np.float32(1.2), albedo)
        return albedo * tone[:, None]


def _opening(level: F32) -> F32:
    """Relative width of a jacket's opening: wider towards the hem."""
    return np.clip(1.6 - 1.2 * (level - 0.45) / 0.35, 0.3, 1.6).astype(np.float32)
