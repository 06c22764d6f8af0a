"""The places the cameras watch: ground, buildings, furniture, and the ways people take through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.street import props as pr
from reidentify.street.cameras import Camera, camera
from reidentify.street.meshes import Mesh, box, sheet
from reidentify.street.noise import stream
from reidentify.street.wardrobe import linear

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

LANE = 0.85  # people keep to the middle of a route, or this far to either side of it, metres
CLEARANCE = LANE + 0.62
FLOOR = ((-0.8, 3.4), (0.8, 3.4), (2.4, 7.5), (4.2, 3.4))
"""Rows of a dance floor, which is kept free: metres ahead, and half their length; the longest leads out of sight."""


@dataclass(frozen=True, eq=False)
class Route:
    """A way through a site, given by points every ten centimetres; it goes straight on beyond its ends.

    Args:
        points: P x 2, metres.
        arc: P, metres from the start; negative before it.
        heading: P, radians, without jumps; 0 faces +y.
        length: metres.
    """

    points: F64
    arc: F64
    heading: F64
    length: float

    @staticmethod
    def through(corners: ArrayLike) -> Route:
        """A smooth way through some points (corners are cut, Chaikin)."""
        p = np.asarray(corners, np.float64)
        for _ in range(4 if len(p) > 2 else 0):
            cut = np.stack([0.75 * p[:-1] + 0.25 * p[1:], 0.25 * p[:-1] + 0.75 * p[1:]], 1).reshape(-1, 2)
            p = np.concatenate([p[:1], cut[1:-1], p[-1:]])
        arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
        length, over = float(arc[-1]), 3.0
        ends = [p[0] + (p[0] - p[1]) / arc[1] * over, p[-1] + (p[-1] - p[-2]) / (arc[-1] - arc[-2]) * over]
        p, arc = np.stack([ends[0], *p, ends[1]]), np.concatenate([[-over], arc, [length + over]])
        fine = np.linspace(-over, length + over, int((length + 2 * over) / 0.1) + 2)
        points = np.stack([np.interp(fine, arc, p[:, k]) for k in (0, 1)], 1)
        return Route._along(points, fine, length)

    @staticmethod
    def _along(points: F64, arc: F64, length: float) -> Route:
        from scipy.ndimage import uniform_filter1d

        way = uniform_filter1d(np.gradient(points, axis=0), 9, axis=0, mode="nearest")  # people turn smoothly
        return Route(points, arc, np.unwrap(np.arctan2(-way[:, 0], way[:, 1])), length)

    def reversed(self) -> Route:
        """The same way taken from its end."""
        return Route._along(self.points[::-1].copy(), self.length - self.arc[::-1], self.length)

    def places(self, arc: F64, lane: float) -> F64:
        """x, y and heading (radians) at N arc lengths, `lane` metres to the right of the middle. N x 3."""
        x, y, heading = (np.interp(arc, self.arc, c) for c in (self.points[:, 0], self.points[:, 1], self.heading))
        return np.stack([x + lane * np.cos(heading), y + lane * np.sin(heading), heading], -1)

    def place(self, arc: float, lane: float) -> tuple[float, float, float]:
        """The same at one arc length."""
        x, y, heading = self.places(np.float64(arc), lane).tolist()
        return x, y, heading


@dataclass(eq=False)
class Site:
    """One camera's place.

    Args:
        kind: a key of `KINDS`.
        camera: calibrated in the site's own coordinates.
        mesh: everything that stands still.
        lamps: L x 3, metres.
        routes: ways through the site, each in both directions.
    """

    kind: str
    camera: Camera
    mesh: Mesh
    lamps: F32
    routes: list[Route]


@dataclass
class _Plot:
    """A site under construction: meshes, lamps and what is taken already."""

    rng: np.random.Generator
    routes: list[Route]
    eye: F64
    parts: list[Mesh] = field(default_factory=list)
    lamps: list[F32] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    def free(self, x: float, y: float, radius: float) -> bool:
        """Whether a thing of this radius is in nobody's way there, nor in front of the lens."""
        here = np.array([x, y])
        if np.linalg.norm(here - self.eye[:2]) < radius + 2.2:
            return False
        if any(np.hypot(x - a, y - b) < radius + r + 0.3 for a, b, r in self.taken):
            return False
        return all(np.linalg.norm(r.points - here, axis=1).min() > radius + CLEARANCE for r in self.routes)

    def put(self, mesh: Mesh, x: float, y: float, radius: float, turn: float = 0.0) -> bool:
        """Place a thing if there is room."""
        if not self.free(x, y, radius):
            return False
        self.parts.append(mesh.moved((x, y, 0), turn))
        self.taken.append((x, y, radius))
        return True

    def lamp(self, x: float, y: float, tall: float = 4.2) -> None:
        """Place a street lamp if there is room."""
        mesh, light = pr.lamp_post(tall)
        if self.put(mesh, x, y, 0.12):
            self.lamps.append(light + np.array([x, y, 0], np.float32))

    def ground(
        self, x0: float, y0: float, x1: float, y1: float, material: int, colour: tuple[int, int, int], z: float = 0
    ) -> None:
        """A rectangle of ground."""
        tint = linear(np.asarray(colour) * self.rng.normal(1, 0.06))
        self.parts.append(sheet([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], material, tint))

    def scatter(
        self, make: Callable[[], Mesh], count: int, area: tuple[float, float, float, float], radius: float
    ) -> None:
        """Try to place `count` things at random in a rectangle x0, y0, x1, y1."""
        for _ in range(count):
            x, y = self.rng.uniform(area[0], area[2]), self.rng.uniform(area[1], area[3])
            self.put(make(), float(x), float(y), radius, float(self.rng.choice([0, np.pi / 2, np.pi])))


def _pavement(plot: _Plot) -> None:
    """A pavement along house fronts, seen across a road with parked cars."""
    rng = plot.rng
    plot.ground(-45, -3.2, 45, 7, int(rng.choice([pr.PAVING, pr.SLABS])), (156, 150, 142))
    plot.ground(-45, -60, 45, -3.2, pr.ASPHALT, (92, 92, 94), -0.12)
    plot.parts.append(box((90, 0.16, 0.12), (0, -3.28, -0.06), pr.PLAIN, linear((150, 148, 144))))
    plot.parts += pr.row_of_buildings(rng, (-45, 6.4), (45, 6.4), 10, int(rng.integers(4)))
    for x in np.arange(-21, 21, 6.2):
        if rng.random() < 0.55:
            plot.parts.append(
                pr.car(rng).moved((float(x + rng.normal(0, 0.3)), -4.4, -0.12), np.pi * float(rng.random() < 0.5))
            )
    for x in np.arange(-19, 20, 7.5):
        plot.put(pr.tree(rng, float(rng.uniform(7.5, 9)), 2.0), float(x + rng.normal(0, 0.4)), -2.5, 0.2)
    for x in (-11.5, 0.8, 12.5):
        plot.lamp(x, -2.7)
    plot.scatter(lambda: pr.bin_(rng), 3, (-9, -2.7, 9, -2.3), 0.25)
    plot.put(pr.sign_post(rng), float(rng.choice([-1, 1]) * rng.uniform(2.5, 4.5)), -2.8, 0.05)
    plot.parts.append(pr.awning(rng, (2, 6.3), (6, 6.3), (0, -1.3)))
    plot.scatter(lambda: pr.planter(rng), 3, (-8, 5.6, 8, 5.9), 0.4)


def _alley(plot: _Plot) -> None:
    """A street for walkers between two rows of houses, seen along its length."""
    rng = plot.rng
    plot.ground(-60, -30, 60, 60, int(rng.choice([pr.COBBLES, pr.SLABS, pr.PAVING])), (140, 132, 122))
    plot.parts += pr.row_of_buildings(rng, (-6.3, -14), (-6.3, 36), 10, int(rng.integers(4)))
    plot.parts += pr.row_of_buildings(rng, (6.8, 36), (6.8, -14), 10, int(rng.integers(4)))
    plot.parts += pr.row_of_buildings(rng, (-40, 44), (40, 44), 10, int(rng.integers(4)))
    for y in rng.uniform(0, 26, 5):
        side = -1 if rng.random() < 0.5 else 1
        x = -6.0 if side < 0 else 6.4
        plot.parts.append(
            pr.awning(rng, *(((x, y), (x, y + 3.4)) if side > 0 else ((x, y + 3.4), (x, y))), (-1.2 * side, 0))
        )
    for y in (2.0, 13.0, 24.0):
        plot.lamp(-4.6 if rng.random() < 0.5 else 4.9, y)
    plot.scatter(lambda: pr.planter(rng), 9, (-5.6, -2, -4.2, 26), 0.75)
    plot.scatter(lambda: pr.planter(rng), 9, (4.4, -2, 6.0, 26), 0.75)
    plot.scatter(lambda: pr.bench(rng), 5, (-1, 0, 1, 24), 0.9)
    plot.scatter(lambda: pr.bin_(rng), 4, (-5.4, 0, 5.6, 20), 0.3)
    plot.put(pr.advertising_column(), float(rng.uniform(-0.4, 0.6)), float(rng.uniform(9, 13)), 0.6)


def _plaza(plot: _Plot) -> None:
    """An open square with trees and benches in front of a row of houses."""
    rng = plot.rng
    plot.ground(-60, -40, 60, 26, int(rng.choice([pr.SLABS, pr.COBBLES])), (164, 156, 146))
    plot.parts += pr.row_of_buildings(rng, (-50, 25), (50, 25), 10, int(rng.integers(4)))
    plot.scatter(lambda: pr.tree(rng, float(rng.uniform(5.5, 7.5)), 1.5), 16, (-15, -1, 15, 22), 0.3)
    plot.scatter(lambda: pr.bench(rng), 10, (-10, -2, 10, 18), 0.9)
    plot.scatter(lambda: pr.bin_(rng), 4, (-8, 0, 8, 14), 0.3)
    for x, y in ((-7, 3), (6.5, 5), (-4, 14), (9, 15)):
        plot.lamp(x + float(rng.normal(0, 0.5)), y + float(rng.normal(0, 0.5)))
    plot.scatter(pr.advertising_column, 4, (-6, -2, 6, 12), 0.6)
    plot.scatter(lambda: pr.planter(rng), 6, (-9, 0, 9, 16), 0.75)


def _park(plot: _Plot) -> None:
    """Gravel walks through grass under trees."""
    rng = plot.rng
    plot.ground(-80, -50, 80, 60, pr.GRASS, (88, 104, 56))
    for route in plot.routes:
        p = route.points[::4]
        way = np.gradient(p, axis=0)
        side = np.stack([-way[:, 1], way[:, 0]], 1) / np.linalg.norm(way, axis=1, keepdims=True) * 1.75
        for a, b, c, d in zip((p - side)[:-1], (p - side)[1:], (p + side)[1:], (p + side)[:-1]):
            corners = [np.append(q, 0.004 + 0.001 * plot.routes.index(route)) for q in (a, b, c, d)]
            plot.parts.append(sheet(corners, pr.GRAVEL, linear((158, 144, 120)), (0, 0, 1)))
    plot.parts += pr.row_of_buildings(rng, (-60, 46), (60, 46), 10, 0)
    plot.scatter(lambda: pr.tree(rng, float(rng.uniform(6, 9)), 1.3), 30, (-20, -2, 20, 34), 0.3)
    for x in np.arange(-40, 40, 4.0):
        plot.put(pr.tree(rng, float(rng.uniform(7, 10))), float(x + rng.normal()), 38 + float(rng.normal()), 0.3)
    plot.scatter(lambda: pr.bench(rng), 12, (-8, -2, 8, 16), 0.9)
    for x, y in ((-5, 4), (5.5, 7), (0, 16)):
        plot.lamp(x + float(rng.normal(0, 0.6)), y + float(rng.normal(0, 0.6)))
    plot.scatter(lambda: pr.bin_(rng), 4, (-7, 0, 7, 14), 0.3)


def _forecourt(plot: _Plot) -> None:
    """The forecourt of a station: a roof on columns, bollards, a bus shelter."""
    rng = plot.rng
    plot.ground(-60, -2.2, 60, 15, pr.PAVING, (150, 148, 146))
    plot.ground(-60, -50, 60, -2.2, pr.ASPHALT, (84, 84, 88), -0.10)
    plot.parts.append(box((120, 0.16, 0.10), (0, -2.28, -0.05), pr.PLAIN, linear((152, 150, 146))))
    plot.parts += pr.row_of_buildings(rng, (-50, 13.5), (50, 13.5), 12, 2)
    plot.parts.append(box((34, 7, 0.35), (1, 10.3, 4.55), pr.PLAIN, linear((156, 156, 158))))
    for x in np.arange(-13, 16, 4.6):
        plot.put(pr.column(), float(x), 7.6, 0.25)
    for x in np.arange(-12, 12.5, 1.7):
        plot.put(pr.bollard(), float(x), -1.75, 0.1)
    for x in (-6.5, 7.0):
        plot.lamp(x, -1.4, 4.6)
    for x in (-9.0, 0.2, 9.5):
        plot.lamps.append(np.array([x, 9.5, 4.1], np.float32))
    side = float(rng.choice([-1, 1]))
    plot.put(pr.shelter(), side * 5.4, 6.0, 1.2)
    plot.scatter(lambda: pr.bin_(rng), 3, (-7, 5.0, 7, 7), 0.3)
    plot.scatter(lambda: pr.bench(rng), 4, (-9, 11, 9, 12.4), 0.9)
    plot.put(pr.sign_post(rng), float(rng.choice([-1, 1]) * rng.uniform(2.5, 4.5)), -1.5, 0.05)


def _yard(plot: _Plot) -> None:
    """A yard with parked cars before a brick wall."""
    rng = plot.rng
    plot.ground(-60, -50, 60, 12, pr.ASPHALT, (108, 106, 104))
    for x in np.arange(-15.5, 16, 2.6):
        line = [(x - 0.05, 6.2, 0.004), (x + 0.05, 6.2, 0.004), (x + 0.05, 11, 0.004), (x - 0.05, 11, 0.004)]
        plot.parts.append(sheet(line, pr.PLAIN, linear((180, 180, 176))))
        if rng.random() < 0.62:
            plot.parts.append(
                pr.car(rng).moved(
                    (float(x + 1.3), 8.6 + float(rng.normal(0, 0.15)), 0), float(rng.choice([1, -1])) * np.pi / 2
                )
            )
    plot.parts += pr.row_of_buildings(rng, (-50, 12.2), (50, 12.2), 10, 1)
    for x in (-8.5, 1.5, 10.0):
        plot.lamp(x, 5.6, 4.8)
    plot.scatter(lambda: pr.tree(rng, 6.5, 1.7), 6, (-12, -2, 12, 5), 0.3)
    plot.scatter(lambda: pr.planter(rng), 5, (-8, -2.5, 8, 5), 0.75)
    plot.scatter(lambda: pr.bin_(rng), 4, (-7, -2, 7, 5.5), 0.3)
    for x in np.arange(-6, 6, 1.6):
        plot.put(pr.bollard(), float(x), -2.6, 0.1)


KINDS: dict[str, Callable[[_Plot], None]] = {
    "pavement": _pavement, "alley": _alley, "plaza": _plaza, "forecourt": _forecourt, "park": _park, "yard": _yard,
}  # fmt: skip


class _Plan(NamedTuple):
    """Corners of the ways through a place, and where its camera hangs.

    Args:
        ways: corners of each, metres.
        behind, high: the camera's distance behind the origin and its height, metres.
        view: its horizontal field of view, degrees.
    """

    ways: list[list[tuple[float, float]]]
    behind: float
    high: float
    view: float


_PLANS = {
    "pavement": _Plan([
        [(-13, 0.2), (0, 0.6), (13, 0.2)], [(-13, 3.2), (0, 2.6), (13, 3.4)], [(-13, 0.4), (0, 1.6), (13, 3.2)],
    ], 9.4, 3.6, 54),
    "alley": _Plan([
        [(-16, 40), (-3.0, 38.5), (-2.6, 20), (-2.2, 4), (-2.4, -14)],
        [(16, 40), (3.4, 38.5), (2.8, 20), (2.6, 4), (2.8, -14)],
        [(-16, 41), (-3.4, 38.5), (-2.4, 24), (2.4, 3), (2.8, -14)],
    ], 9.0, 3.4, 50),
    "plaza": _Plan([
        [(-13, -1), (0, 0.5), (19, 8)], [(15, -1.5), (0, 1), (-20, 9.5)], [(-16, 4.0), (0, 3.0), (16, 3.5)],
        [(-21, 12), (-4, 5), (2.2, -2), (2.6, -13)],
    ], 8.8, 3.7, 56),
    "forecourt": _Plan([
        [(-15, 0.2), (0, 0.8), (15, 0.2)], [(-16, 3.4), (0, 2.8), (16, 3.2)], [(15, 0.4), (3, 2.0), (-17, 3.6)],
        [(18, 5), (4, 4.2), (0.6, 0.5), (0.3, -13)],
    ], 9.0, 3.9, 55),
    "park": _Plan([
        [(-15, -0.5), (-2, 1.5), (6, 8), (24, 12)], [(15, -1.0), (2, 1.0), (-7, 8), (-24, 13)],
        [(3.5, -13), (2.2, -4), (-1.5, 4), (-7, 8), (-24, 13)],
    ], 8.4, 3.3, 56),
    "yard": _Plan([
        [(-14, 0.3), (0, 1.0), (14, 0.2)], [(-15, 3.2), (0, 2.4), (15, 3.2)],
        [(-4, -13), (-2.5, -4), (0, 1.5), (15, 3.4)],
    ], 8.8, 3.5, 55),
}  # fmt: skip


def site(seed: int, camid: int) -> Site:
    """The place that camera `camid` (1, 2, ...) watches."""
    rng = stream(seed, 3, camid)
    order = stream(seed, 4).permutation(len(KINDS))
    kind = list(KINDS)[order[(camid - 1) % len(KINDS)]]
    ahead = 8.0 if kind == "alley" else 3.0 if kind in ("plaza", "park") else 1.2
    return _built(rng, seed, camid, kind, _PLANS[kind], (ahead, 1.05 if kind != "alley" else 0.8))


def dance_floor(seed: int, camid: int) -> Site:
    """A place where people dance before camera `camid` (1, 2, ...), which hangs as low as a hand that films them."""
    rng = stream(seed, 17, camid)
    kind = str(rng.choice(["plaza", "forecourt", "alley", "yard"]))
    plan = _Plan([[(-half, y), (half, y)] for y, half in FLOOR], 9.0, 1.8, 56)
    return _built(rng, seed, camid, kind, plan, (1.5, 1.0))


def _built(
    rng: np.random.Generator, seed: int, camid: int, kind: str, plan: _Plan, target: tuple[float, float]
) -> Site:
    """A place of some kind; the camera looks at a point so far ahead and so high, metres."""
    mirror = float(rng.choice([-1, 1]))
    routes = [Route.through(np.asarray(c) * [mirror, 1] + rng.normal(0, 0.12, 2)) for c in plan.ways]
    eye = np.array([rng.uniform(-0.7, 0.7), -plan.behind * rng.uniform(0.94, 1.1), plan.high * rng.uniform(0.88, 1.2)])
    ahead, high = target
    aim = np.array([rng.uniform(-1.2, 1.2), ahead, high])
    plot = _Plot(rng, routes, eye)
    KINDS[kind](plot)
    lens = camera(seed, camid, eye, aim, np.deg2rad(plan.view * rng.uniform(0.92, 1.04)))
    return Site(
        kind,
        lens,
        Mesh.join(plot.parts),
        np.array(plot.lamps, np.float32).reshape(-1, 3),
        routes + [r.reversed() for r in routes],
    )
