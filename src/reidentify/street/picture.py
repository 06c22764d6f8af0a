"""People cast into a camera's picture: crops and whole frames, with the exact truth about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reidentify.street import skeleton as sk
from reidentify.street.actors import Actor
from reidentify.street.cameras import HEIGHT, WIDTH, Camera
from reidentify.street.casting import Caster, Hits, dot, halved
from reidentify.street.light import Light, hemisphere, lamp_light
from reidentify.street.scene import AREA, Layers, jitter
from reidentify.street.tailor import LOWER, UPPER

F32 = NDArray[np.float32]
_SHINES = 0.05  # summed strength below which a light is left out


@dataclass(frozen=True, eq=False)
class Stage:
    """A camera and its place at one moment, people apart.

    Args:
        camera: that looks.
        layers: the empty place in each light, and its depth.
        static: everything that stands still, for rays.
        sun_way: direction towards the sun, unit length.
        lamps: L x 3, metres.
        light: of the moment.
    """

    camera: Camera
    layers: Layers
    static: Caster
    sun_way: F32
    lamps: F32
    light: Light

    @property
    def eye(self) -> F32:
        """The camera's position, metres."""
        return self.camera.centre.astype(np.float32)

    @property
    def sunny(self) -> bool:
        """Whether the sun shines."""
        return float(self.light.sun.sum()) > _SHINES


@dataclass(frozen=True, eq=False)
class View:
    """One rendered region.

    Args:
        radiance: H x W x 3, linear.
        alpha: A x H x W, float32: share of each pixel that shows actor a.
        whole: A, float: samples each actor would cover were nothing in front; `seen`: samples it does cover.
    """

    radiance: F32
    alpha: F32
    whole: NDArray[np.float64]
    seen: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Window:
    """The samples among which one actor may show, row by row, and what their rays met."""

    rows: slice
    columns: slice
    ways: F32
    hits: Hits


def view(
    actors: list[Actor], stage: Stage, region: NDArray[np.float64], size: tuple[int, int], rng: np.random.Generator
) -> View:
    """Cast a region x0, y0, x1, y1 of the camera's frame into a picture of `size` (height, width).

    Each pixel has AREA x AREA samples. The empty place comes from the stage's layers; people hide it and shade it, and
    are hidden by whatever of it is nearer.
    """
    h, w = size
    x = (region[0] + (np.arange(w * AREA) + 0.5) / (w * AREA) * (region[2] - region[0])).astype(np.float32)
    y = (region[1] + (np.arange(h * AREA) + 0.5) / (h * AREA) * (region[3] - region[1])).astype(np.float32)
    row = np.clip((y * AREA).astype(np.int64), 0, AREA * HEIGHT - 1)
    column = np.clip((x * AREA).astype(np.int64), 0, AREA * WIDTH - 1)
    depth = np.asarray(stage.layers.depth[row[0] : row[-1] + 1])[row - row[0]][:, column]
    nearest, who = depth.copy(), np.full(depth.shape, -1, np.int32)
    windows = [_window(a, stage, x, y) for a in actors]
    for k, window in enumerate(windows):
        here = window.rows, window.columns
        distance = window.hits.distance.reshape(nearest[here].shape)
        closer = distance < nearest[here]
        nearest[here][closer] = distance[closer]
        who[here][closer] = k
    canvas = _place(stage, region, size) * _shadow(actors, stage, depth, x, y, size, rng)[..., None]
    colour = np.zeros((h * AREA, w * AREA, 3), np.float32)
    alpha = np.zeros((len(actors), h, w), np.float32)
    for k, (a, window) in enumerate(zip(actors, windows)):
        mine = who[window.rows, window.columns] == k
        if mine.any():
            others = [b for b in actors if b is not a and b.close_to(a)]
            at = np.flatnonzero(mine)
            colour[window.rows, window.columns][mine] = _shade(
                a, others, stage, window.ways[at], window.hits.at(at), rng
            )
            alpha[k] = halved((who == k).astype(np.float32))
    whole = np.array([np.count_nonzero(window.hits.face >= 0) for window in windows], np.float64)
    seen = np.array([np.count_nonzero(who == k) for k in range(len(actors))], np.float64)
    return View(canvas * (1 - alpha.sum(axis=0)[..., None]) + halved(colour), alpha, whole, seen)


def _window(a: Actor, stage: Stage, x: F32, y: F32) -> _Window:
    """Cast rays at one actor, through the samples at columns `x` and rows `y` that its box covers."""
    i0, i1 = np.searchsorted(y, [a.box[1] - 1, a.box[3] + 1])
    j0, j1 = np.searchsorted(x, [a.box[0] - 1, a.box[2] + 1])
    xx, yy = np.meshgrid(x[j0:j1], y[i0:i1])
    ways = stage.camera.rays(xx.ravel(), yy.ravel())
    return _Window(slice(i0, i1), slice(j0, j1), ways, a.caster.first(stage.eye, ways) if len(ways) else Hits.none())


def _place(stage: Stage, region: NDArray[np.float64], size: tuple[int, int]) -> F32:
    """The empty place in the region, interpolated between the pixels of the frame."""
    (h, w), layers, light = size, stage.layers, stage.light
    x = np.clip(region[0] + (np.arange(w) + 0.5) / w * (region[2] - region[0]) - 0.5, 0, WIDTH - 1.01)
    y = np.clip(region[1] + (np.arange(h) + 0.5) / h * (region[3] - region[1]) - 0.5, 0, HEIGHT - 1.01)
    i, j = y.astype(np.int64), x.astype(np.int64)
    cut = np.s_[i[0] : i[-1] + 2, j[0] : j[-1] + 2]
    mixed = light.sun * layers.sun[cut].astype(np.float32)
    mixed += light.sky * layers.sky[cut].astype(np.float32)
    mixed += light.lamp * layers.lamp[cut].astype(np.float32)
    fy, fx = (y - i).astype(np.float32)[:, None, None], (x - j).astype(np.float32)[None, :, None]
    rows = mixed[i - i[0]] * (1 - fy) + mixed[i - i[0] + 1] * fy
    return rows[:, j - j[0]] * (1 - fx) + rows[:, j - j[0] + 1] * fx


def _shadow(
    actors: list[Actor], stage: Stage, depth: F32, x: F32, y: F32, size: tuple[int, int], rng: np.random.Generator
) -> F32:
    """How much the people dim each pixel of the place: their shadow in the sun, and the dark under their feet."""
    from scipy.ndimage import uniform_filter

    (h, w), layers, light, sun_way = size, stage.layers, stage.light, stage.sun_way
    coarse = 2 * AREA  # a shadow's edge is soft: every other pixel will do
    xx, yy = np.meshgrid(x[AREA - 1 :: coarse], y[AREA - 1 :: coarse])
    ways = stage.camera.rays(xx.ravel(), yy.ravel())
    far = np.minimum(depth[AREA - 1 :: coarse, AREA - 1 :: coarse].ravel(), 200.0)
    points = stage.eye + ways * far[:, None]
    low = points[:, 2] < 1.2
    if not low.any():
        return np.ones((h, w), np.float32)
    open_, near = np.ones(xx.size, np.float32), np.ones(xx.size, np.float32)
    for a in actors:
        foot = a.pose.joints[[10, 13]]
        at = np.flatnonzero(low & (np.hypot(points[:, 0] - foot[0, 0], points[:, 1] - foot[0, 1]) < 4.5))
        if not len(at):
            continue
        for ankle in foot:
            gap = (points[at, 0] - ankle[0]) ** 2 + (points[at, 1] - ankle[1]) ** 2
            lift = max(float(ankle[2]) - 0.08, 0.0)
            near[at] *= 1 - (0.55 / (1 + 14 * lift)) * np.exp(-gap / 0.022)
        middle = foot[:, :2].mean(axis=0)
        gap = (points[at, 0] - middle[0]) ** 2 + (points[at, 1] - middle[1]) ** 2
        near[at] *= 1 - 0.28 * np.exp(-gap / 0.16)
        if stage.sunny:
            open_[at] *= ~a.caster.blocked(
                points[at] + np.float32(0.01) * sun_way, jitter(sun_way, len(at), 0.025, rng)
            )
    if stage.sunny:
        open_ = uniform_filter(open_.reshape(xx.shape), 2, mode="nearest").ravel()
        # Where the place lies in shadow already, there is no sun left to take away.
        i, j = np.clip(yy.astype(np.int64), 0, HEIGHT - 1), np.clip(xx.astype(np.int64), 0, WIDTH - 1)
        sun, sky = layers.sun[i, j].astype(np.float32), layers.sky[i, j].astype(np.float32)
        direct, other = (sun @ light.sun).ravel(), (sky @ light.sky).ravel()
        near *= 1 - (direct / (direct + other + 1e-6)) * (1 - open_)
    full = near.reshape(xx.shape).repeat(2, axis=0).repeat(2, axis=1)[:h, :w]
    return uniform_filter(full, 3, mode="nearest")


def _shade(a: Actor, others: list[Actor], stage: Stage, ways: F32, hits: Hits, rng: np.random.Generator) -> F32:
    """Radiance of N samples on a person."""
    body, light, sun_way = a.person.body, stage.light, stage.sun_way
    corners = a.faces[hits.face]
    skin = np.concatenate([a.normals, body.rest, body.around[:, None], body.shade[:, None]], axis=1)
    points = stage.eye + ways * hits.distance[:, None]
    values: F32 = np.einsum("nk,nkc->nc", hits.weights, skin[corners])
    normals, rest, around, open_sky = values[:, :3], values[:, 3:6], values[:, 6], values[:, 7]
    material = a.material[hits.face]
    albedo = a.person.cloth.colour(material, rest, around)
    tilt_u, tilt_v = a.person.cloth.wrinkles(rest, around)
    cloth = ((material == UPPER) | (material == LOWER)).astype(np.float32)
    side = np.stack([normals[:, 1], -normals[:, 0], np.zeros_like(tilt_u)], 1)
    normals = normals + side * (cloth * tilt_u)[:, None]
    normals[:, 2] += cloth * tilt_v
    normals /= np.sqrt(np.maximum(dot(normals, normals), 1e-9))[:, None]
    normals *= np.where(dot(normals, ways) > 0.15, -1, 1)[:, None]
    low = 0.72 + 0.28 * np.clip(points[:, 2] / 0.5, 0, 1)
    radiance = albedo * light.sky * (hemisphere(normals[:, 2]) * open_sky * low)[:, None]
    if stage.sunny:
        facing = np.maximum(normals @ sun_way, 0)
        lit = np.flatnonzero(facing > 0)
        starts = points[lit] + np.float32(0.015) * normals[lit]
        rays = jitter(sun_way, len(lit), 0.03, rng)
        free = np.ones(len(lit), bool)
        for b in (a, *others):
            free &= ~b.caster.blocked(starts, rays)
        sun = np.zeros(len(points), np.float32)
        sun[lit] = facing[lit] * free * _sun_at(a, stage, starts, rng)
        radiance += albedo * light.sun * sun[:, None]
    if light.lamp.sum() > _SHINES:
        lamp = 0.85 * lamp_light(points, normals, stage.lamps) * open_sky + 0.05
        radiance += albedo * light.lamp * lamp[:, None]
    gloss = a.person.look.gloss
    if gloss > 0.2:
        radiance += (0.05 * gloss * (material == UPPER) * np.clip(normals[:, 2], 0, 1) ** 4)[:, None] * light.sky
    return radiance.astype(np.float32)


def _sun_at(a: Actor, stage: Stage, points: F32, rng: np.random.Generator) -> F32:
    """Share of the sun that the place lets through at each point, from a few heights of the person."""
    levels = np.linspace(0.05, 1.9, 8, dtype=np.float32)
    foot = a.pose.joints[[10, 13]].mean(axis=0)
    k = 8
    starts = np.repeat(np.stack([np.full(8, foot[0]), np.full(8, foot[1]), levels], 1).astype(np.float32), k, axis=0)
    starts[:, :2] += 0.12 * rng.standard_normal((len(starts), 2), np.float32)
    free = 1 - stage.static.blocked(starts, jitter(stage.sun_way, len(starts), 0.04, rng)).reshape(-1, k).mean(axis=1)
    return np.interp(points[:, 2], levels, free).astype(np.float32)


def joints_in(
    a: Actor, others: list[Actor], stage: Stage, behind_oneself: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of the frame (14 x 2) of the joints, and how visible each is (14): 1, `behind_oneself` where the person's
    own body alone hides it, or 0.

    A joint lies inside the body; it counts as seen when the ray towards it meets nothing before the flesh and cloth
    that may cover it (`JOINT_DEPTH`).
    """
    joints = a.pose.joints
    pixels, _ = stage.camera.project(joints)
    ways = joints - stage.camera.centre
    far = np.linalg.norm(ways, axis=1)
    share = ((far - sk.JOINT_DEPTH * a.person.look.girth) / far).astype(np.float32)
    ways32 = ways.astype(np.float32)
    hidden = stage.static.blocked(stage.eye, ways32, share)
    for b in others:
        hidden |= b.caster.blocked(stage.eye, ways32, share)
    own = a.caster.blocked(stage.eye, ways32, share)
    return pixels, np.where(hidden, 0.0, np.where(own, behind_oneself, 1.0))
