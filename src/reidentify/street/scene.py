"""A camera's empty place, rendered once: three layers of light, and the depth of every sample.

The picture at any time is the layers weighted by the light of that time; people are cast into it afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reidentify.street.cameras import HEIGHT, WIDTH
from reidentify.street.casting import Caster, dot, halved
from reidentify.street.light import Light, hemisphere, lamp_light
from reidentify.street.noise import rough, stream
from reidentify.street.sites import Site
from reidentify.street.surfaces import surface

F32 = NDArray[np.float32]
AREA = 2  # fixed by `halved`: samples per pixel and direction
BAND = 90  # rows of the frame shaded at once
SKY_RAYS = 8


@dataclass(frozen=True, eq=False)
class Layers:
    """An empty place in linear light.

    Args:
        sun, sky, lamp: HEIGHT x WIDTH x 3, float16: what each light alone would show.
        depth: AREA * HEIGHT x AREA * WIDTH, float32: metres along the camera's axis; infinity in the sky.
        means: 3 x 3: mean colour of each layer, for the camera's exposure.
    """

    sun: NDArray[np.float16]
    sky: NDArray[np.float16]
    lamp: NDArray[np.float16]
    depth: F32
    means: F32

    def save(self, folder: Path) -> None:
        """One .npy file per array."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in vars(self).items():
            np.save(folder / f"{name}.npy", array)

    @staticmethod
    def load(folder: Path) -> Layers:
        """Memory-mapped, so that several processes share one copy."""
        return Layers(**{k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in Layers.__dataclass_fields__})

    def mean(self, light: Light) -> float:
        """Mean luminance of the place in this light."""
        colour = light.sun * self.means[0] + light.sky * self.means[1] + light.lamp * self.means[2]
        return float(colour @ np.array([0.3, 0.59, 0.11], np.float32))


def sun_in_site(seed: int, camid: int) -> F32:
    """Direction towards the sun in a site's own coordinates, unit length; low enough for long shadows."""
    rng = stream(seed, 5, camid)
    # Behind the camera or beside it: a lens is not hung up against the sun.
    turn, rise = rng.uniform(-1.9, 1.9), np.deg2rad(stream(seed, 5).uniform(36, 48))
    return np.array([np.sin(turn) * np.cos(rise), -np.cos(turn) * np.cos(rise), np.sin(rise)], np.float32)


def jitter(direction: F32, count: int, spread: float, rng: np.random.Generator) -> F32:
    """`count` directions about one direction, for soft shadows. count x 3."""
    return direction + np.float32(spread) * rng.standard_normal((count, 3), np.float32)


def render_layers(seed: int, site: Site) -> Layers:
    """Cast the empty place of a site."""
    camid = site.camera.camid
    rng, sun_way = stream(seed, 6, camid), sun_in_site(seed, camid)
    mesh = site.mesh
    caster = Caster(mesh.vertices, mesh.faces)
    eye = site.camera.centre.astype(np.float32)
    wide = AREA * WIDTH
    xs = ((np.arange(wide, dtype=np.float32) + 0.5) / AREA).astype(np.float32)
    layers = {name: np.empty((HEIGHT, WIDTH, 3), np.float16) for name in ("sun", "sky", "lamp")}
    depths = np.empty((AREA * HEIGHT, wide), np.float32)
    for top in range(0, HEIGHT, BAND):
        rows = np.arange(top * AREA, (top + BAND) * AREA)
        x, y = np.meshgrid(xs, ((rows + 0.5) / AREA).astype(np.float32))
        ways = site.camera.rays(x.ravel(), y.ravel())
        hits = caster.first(eye, ways)
        depths[rows] = hits.distance.reshape(len(rows), wide)
        met = np.flatnonzero(hits.face >= 0)
        faces, weights = hits.face[met], hits.weights[met]
        corners = mesh.faces[faces]
        points = eye + ways[met] * hits.distance[met, None]
        normals = np.einsum("nk,nki->ni", weights, mesh.normals[corners])
        normals *= np.where(dot(normals, ways[met]) > 0, -1, 1)[:, None]
        uv = np.einsum("nk,nki->ni", weights, mesh.uv[corners])
        albedo, glow = surface(mesh.material[faces], mesh.tint[faces], uv, points, normals)
        starts = points + np.float32(0.02) * normals
        facing = np.maximum(normals @ sun_way, 0)
        open_ = np.zeros(len(met), np.float32)
        bright = np.flatnonzero(facing > 0)
        open_[bright] = ~caster.blocked(starts[bright], jitter(sun_way, len(bright), 0.022, rng))
        sky_seen = _open_sky(caster, starts, normals, met, (len(rows), wide), rng)
        sky = np.zeros((len(ways), 3), np.float32)
        void = hits.face < 0
        sky[void] = _clouds(ways[void], seed)
        sky[met] = albedo * (hemisphere(normals[:, 2]) * sky_seen)[:, None]
        sun = np.zeros_like(sky)
        sun[met] = albedo * (facing * open_)[:, None]
        lamp = np.zeros_like(sky)
        lamp[met] = albedo * (lamp_light(points, normals, site.lamps) * (0.3 + 0.7 * sky_seen))[:, None] + glow[:, None]
        lamp[void] = 0.012
        for name, layer in (("sun", sun), ("sky", sky), ("lamp", lamp)):
            layers[name][top : top + BAND] = np.minimum(halved(layer.reshape(len(rows), wide, 3)), 60.0)
    means = np.stack([layer.astype(np.float32).mean(axis=(0, 1)) for layer in layers.values()])
    return Layers(**layers, depth=depths, means=means)


def _open_sky(
    caster: Caster, starts: F32, normals: F32, met: NDArray[np.intp], shape: tuple[int, int], rng: np.random.Generator
) -> F32:
    """Share of the half-space before each point that is open within a few metres: the darkness of corners."""
    rows, wide = shape
    chosen = np.flatnonzero((met // wide % AREA == 0) & (met % wide % AREA == 0))
    ways = rng.standard_normal((len(chosen) * SKY_RAYS, 3), np.float32)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    ways += np.repeat(normals[chosen], SKY_RAYS, axis=0) * np.float32(1.02)
    hidden = caster.blocked(np.repeat(starts[chosen], SKY_RAYS, axis=0), ways, 1.6)
    from scipy.ndimage import uniform_filter

    grid = np.ones((rows // AREA, wide // AREA), np.float32)
    place = met[chosen]
    grid[place // wide // AREA, place % wide // AREA] = 1 - 0.8 * hidden.reshape(-1, SKY_RAYS).mean(axis=1)
    grid = uniform_filter(grid, 3, mode="nearest")
    return grid[met // wide // AREA, met % wide // AREA]


def _clouds(ways: F32, seed: int) -> F32:
    """Colour of the sky in N directions."""
    rise = np.maximum(ways[:, 2] / np.linalg.norm(ways, axis=1), 0.02)
    x, y = ways[:, 0] / np.maximum(ways[:, 2], 0.02), ways[:, 1] / np.maximum(ways[:, 2], 0.02)
    cover = np.clip(2.2 * rough(0.5 * x + 40, 0.5 * y + 40, 4, seed % 911) - 0.7, 0, 1)[:, None]
    blue = np.array([0.85, 0.98, 1.12], np.float32) * (1.15 - 0.5 * rise)[:, None]
    return blue * (1 - 0.7 * cover) + np.float32(1.15) * 0.7 * cover
