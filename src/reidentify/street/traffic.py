"""Who is where when: the camera graph, the trips people make over it, and what they do on the way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reidentify.street.noise import stream
from reidentify.street.sites import LANE, Route, Site
from reidentify.street.skeleton import Stance
from reidentify.street.wardrobe import VALUES, Look

F64 = NDArray[np.float64]

SPACING = 48.0  # metres between neighbouring cameras, about
WALK, STAND, CARRY, DANCE = range(4)
_PERSONAL = 0.85  # metres that people keep between their middles
_SETTLE = 0.7  # seconds to come to a stand


@dataclass(frozen=True, eq=False)
class Graph:
    """Cameras as nodes on the ground, ways between them as edges.

    Args:
        places: M x 2, metres: where each camera's site lies in the world.
        turns: M, radians: how each site is turned against the world.
        lengths: M x M, metres along the way between neighbours; infinity where there is none.
    """

    places: F64
    turns: F64
    lengths: F64

    def neighbours(self, node: int) -> NDArray[np.intp]:
        """Nodes one can walk to."""
        return np.flatnonzero(np.isfinite(self.lengths[node]))


def camera_graph(seed: int, cameras: int) -> Graph:
    """A loose grid of cameras; neighbours in a row or a column are joined by a way."""
    rng = stream(seed, 8)
    columns = int(np.ceil(np.sqrt(cameras * 1.4)))
    node = np.arange(cameras)
    grid = np.stack([node % columns, node // columns], 1)
    places = SPACING * grid + rng.normal(0, 4.0, (cameras, 2))
    step = np.abs(grid[:, None] - grid[None]).sum(axis=-1)
    straight = np.linalg.norm(places[:, None] - places[None], axis=-1)
    detour = 1.05 + 0.35 * rng.random((cameras, cameras))
    detour = np.maximum(detour, detour.T)
    return Graph(places, rng.uniform(-np.pi, np.pi, cameras), np.where(step == 1, straight * detour, np.inf))


class Presence(Protocol):
    """One person before one camera from `start` to `end`, seconds on the common clock.

    `number` is the position in the list of all of them, `pid` is 1, 2, ... and `node` the camera's position 0, 1, ...
    """

    @property
    def number(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def node(self) -> int: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...

    def place(self, time: float) -> tuple[float, float, float]:
        """x, y in metres and the heading in radians."""
        ...

    def doing(self, time: float) -> int:
        """What the person does: WALK, STAND, CARRY or DANCE."""
        ...

    def stance(self, look: Look, time: float) -> Stance:
        """What the body of a person who looks so is asked to do."""
        ...


@dataclass(frozen=True, eq=False)
class Visit:
    """One person's way through one camera's site.

    Args:
        number: position in the list of all visits.
        pid: 1, 2, ...
        node: position of the camera, 0, 1, ...
        start: seconds on the common clock when the route begins.
        route: the way taken, and `lane`, metres to the right of its middle.
        speed: metres a second.
        action: WALK, STAND, CARRY or DANCE.
        stop: metres from the start where the person stands or dances; `pause`: for how many seconds.
        phone: whether the person looks at a phone while standing.
    """

    number: int
    pid: int
    node: int
    start: float
    route: Route
    lane: float
    speed: float
    action: int
    stop: float
    pause: float
    phone: bool

    @property
    def end(self) -> float:
        """Seconds on the common clock when the route is done."""
        return self.start + self.route.length / self.speed + self.pause

    def progress(self, time: float) -> tuple[float, float]:
        """Arc length in metres, and how far the person has come to a stand (0 walking, 1 standing)."""
        elapsed = time - self.start
        arrival = self.stop / self.speed
        if self.pause == 0 or elapsed <= arrival:
            return elapsed * self.speed, 0.0
        if elapsed >= arrival + self.pause:
            return (elapsed - self.pause) * self.speed, 0.0
        still = min(elapsed - arrival, arrival + self.pause - elapsed) / _SETTLE
        still = min(still, 1.0)
        return self.stop, still * still * (3 - 2 * still)

    def place(self, time: float) -> tuple[float, float, float]:
        """x, y in metres and the heading in radians."""
        return self.route.place(self.progress(time)[0], self.lane)

    def doing(self, time: float) -> int:
        """What the person does: who stops somewhere walks before and after."""
        return self.action if self.pause == 0 or self.progress(time)[1] > 0.5 else WALK

    def stance(self, look: Look, time: float) -> Stance:
        """What the body of a person who looks so is asked to do."""
        arc, still = self.progress(time)
        bag = VALUES["bag"][look.attributes["bag"]]
        role = {"handbag": "bag", "shopping bag": "bag", "suitcase": "suitcase"}.get(bag)
        dancing = self.action == DANCE and still > 0
        return Stance(
            path=partial(self.route.place, lane=self.lane), arc=arc, still=still,
            dance=1.1 * (time - self.start) * look.gait.speed + look.seed % 7 if dancing else None,
            phone=self.phone and still > 0.5 and not dancing, carry=self.action == CARRY,
            right=role if look.side > 0 else None, left=role if look.side < 0 else None,
            look=0.45 * np.sin(0.35 * time + look.seed % 11) * np.sin(0.13 * time + self.pid),
        )  # fmt: skip

    def positions(self, times: F64) -> F64:
        """x, y at each of T times, T x 2."""
        elapsed, arrival = times - self.start, self.stop / self.speed
        walked = np.where(elapsed < arrival, elapsed, np.maximum(elapsed - self.pause, arrival))
        return self.route.places(walked * self.speed, self.lane)[:, :2]


class _Crowd:
    """Who already walks where, so that nobody walks through anybody."""

    STEP = 0.4  # seconds

    def __init__(self, cameras: int) -> None:
        self._spans = [np.empty((0, 2), np.int64) for _ in range(cameras)]
        self._tracks: list[list[tuple[F64, float]]] = [[] for _ in range(cameras)]

    def _track(self, visit: Visit) -> tuple[int, F64]:
        first = int(visit.start / self.STEP)
        return first, visit.positions(np.arange(first, int(visit.end / self.STEP) + 2) * self.STEP)

    def admits(self, visit: Visit, room: float) -> bool:
        """Whether the visit keeps its distance from everybody admitted before."""
        first, track = self._track(visit)
        last, spans = first + len(track), self._spans[visit.node]
        for k in np.flatnonzero((spans[:, 0] < last) & (spans[:, 1] > first)):
            (begin, end), (places, space) = spans[k], self._tracks[visit.node][k]
            low, high = max(first, begin), min(last, end)
            apart = track[low - first : high - first] - places[low - begin : high - begin]
            if np.einsum("ti,ti->t", apart, apart).min() < (_PERSONAL + max(room, space)) ** 2:
                return False
        return True

    def add(self, visit: Visit, room: float) -> None:
        """Take the visit's places."""
        first, track = self._track(visit)
        self._spans[visit.node] = np.concatenate([self._spans[visit.node], [[first, first + len(track)]]])
        self._tracks[visit.node].append((track, room))


def trips(seed: int, sites: list[Site], graph: Graph, looks: list[Look], duration: float) -> list[Visit]:
    """Every person's visits to the cameras within `duration` seconds, in order of person and time.

    A trip leads from camera to neighbouring camera: the time between two is the length of the way over the person's own
    speed, and a wait now and then. A third of the people come back for a second trip at another time of day.
    """
    crowd = _Crowd(len(sites))
    visits: list[Visit] = []
    typical = 45.0 * min(len(sites), 5)  # seconds that a trip takes
    latest = max(duration - typical, 0.25 * duration)
    for pid, look in enumerate(looks, start=1):
        rng = stream(seed, 9, pid)
        begins = [float(rng.uniform(0, latest))]
        again = (begins[0] + 0.5 * duration) % latest
        if rng.random() < 0.35 and abs(again - begins[0]) > 1.5 * typical:
            begins.append(again)
        last: Visit | None = None
        for begin in sorted(begins):
            node = int(rng.integers(len(sites)))
            if last is not None:  # nobody is at two places at once
                metres = 1.5 * float(np.linalg.norm(graph.places[node] - graph.places[last.node])) + 40.0
                begin = max(begin, last.end + metres / look.gait.speed)
            visits += _trip(rng, begin, node, pid, look, sites, graph, duration, crowd, len(visits))
            last = visits[-1] if visits and visits[-1].pid == pid else None
    return visits


def _trip(
    rng: np.random.Generator, begin: float, node: int, pid: int, look: Look, sites: list[Site], graph: Graph,
    duration: float, crowd: _Crowd, count: int,
) -> list[Visit]:  # fmt: skip
    wanted = int(rng.integers(4, 7))
    bag = VALUES["bag"][look.attributes["bag"]]
    free_hands = bag not in ("handbag", "shopping bag", "suitcase")
    room = 0.45 if bag == "suitcase" else 0.12 if not free_hands else 0.0
    carried = range(a := int(rng.integers(0, 5)), a + 3) if free_hands and rng.random() < 0.22 else range(0)
    before, clock, seen = -1, begin, set[int]()
    done: list[Visit] = []
    for step in range(wanted):
        seen.add(node)
        near = graph.neighbours(node)
        weight = np.array([0.15 if n == before else 1.0 if n in seen else 4.0 for n in near])
        onward = int(rng.choice(near, p=weight / weight.sum())) if len(near) else node
        routes = sites[node].routes
        # The way through a site depends on where one comes from and where one goes.
        route = routes[(7 * before + 3 * onward + pid % 2) % len(routes)]
        if step in carried:
            action = CARRY
        else:
            chances = [0.76, 0.18, 0.0, 0.06 if free_hands else 0.0]
            action = int(rng.choice(4, p=np.array(chances) / sum(chances)))
        stands = action in (STAND, DANCE)
        speed = look.gait.speed * float(np.clip(rng.normal(1, 0.04), 0.9, 1.1)) * (0.9 if action == CARRY else 1.0)
        phone = bool(free_hands and rng.random() < 0.4)
        visit = _admitted(rng, Visit(
            count + len(done), pid, node, clock, route, 0.0, speed, action,
            stop=_stop(rng, sites[node], route) if stands else 0.0,
            pause=float(rng.uniform(9, 20)) if stands else 0.0, phone=phone,
        ), crowd, room, duration)  # fmt: skip
        if visit is None or visit.end > duration:
            break
        crowd.add(visit, room)
        done.append(visit)
        wait = float(rng.exponential(14.0)) if rng.random() < 0.25 else 0.0
        hidden = max(float(graph.lengths[node, onward]) - 0.5 * route.length, 8.0)
        clock = visit.end + hidden / speed + wait
        before, node = node, onward
    return done


def _stop(rng: np.random.Generator, site: Site, route: Route) -> float:
    """A place on the route well inside the picture."""
    pixels, depth = site.camera.project(np.c_[route.points, np.full(len(route.points), 0.9)])
    inside = (
        (depth > 5.5)
        & (depth < 17)
        & (route.arc > 1)
        & (route.arc < route.length - 1)
        & (np.abs(pixels[:, 0] - 480) < 330)
        & (np.abs(pixels[:, 1] - 270) < 170)
    )
    at = np.flatnonzero(inside)
    return float(route.arc[rng.choice(at)]) if len(at) else 0.5 * route.length


def _admitted(rng: np.random.Generator, visit: Visit, crowd: _Crowd, room: float, duration: float) -> Visit | None:
    """The visit in the first lane, and at the first moment, at which nobody is in the way."""
    lanes = rng.permutation(np.linspace(-LANE, LANE, 7)) + rng.normal(0, 0.05)
    start = visit.start
    while start < duration:
        for lane in np.clip(lanes, -LANE, LANE):
            tried = Visit(**{**visit.__dict__, "start": start, "lane": float(lane)})
            if crowd.admits(tried, room):
                return tried
        start += 2.5
    return None
