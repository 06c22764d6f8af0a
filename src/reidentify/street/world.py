"""The street as a whole: its places, its people and their trips, and the pictures its cameras take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from reidentify.errors import InputError
from reidentify.street import skeleton as sk
from reidentify.street.actors import Actor, Person, actor
from reidentify.street.body import build
from reidentify.street.cameras import HEIGHT, WIDTH, develop
from reidentify.street.casting import Caster
from reidentify.street.cloth import Cloth
from reidentify.street.light import light_at
from reidentify.street.noise import stream
from reidentify.street.picture import Stage, joints_in, view
from reidentify.street.scene import Layers, render_layers, sun_in_site
from reidentify.street.sites import Site, site
from reidentify.street.traffic import Graph, Presence, Visit, camera_graph, trips
from reidentify.street.wardrobe import VALUES, Look, look

VERSION = 1
"""Rises when the same settings give other pictures."""
FPS = 10
CROP_HEIGHT, CROP_WIDTH = 128, 64
PER_VISIT = 4  # crops of one person's way past one camera
MIN_HEIGHT = 70  # pixels of the frame: smaller people are left out
MIN_VISIBLE = 0.4
_BRIGHTNESS = 0.40
P = TypeVar("P", bound=Presence)


@dataclass(frozen=True)
class Settings:
    """What a street is made from; equal settings give equal files.

    Args:
        identities: 2 to 9999.
        cameras: 2 to 99.
        minutes: length of the recording; day turns to dusk in the middle of it.
        seed: 0 to 2**31 - 1.

    Raises:
        InputError: a value outside its range.
    """

    identities: int = 200
    cameras: int = 6
    minutes: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {"identities": (2, 9999), "cameras": (2, 99), "minutes": (2, 1440), "seed": (0, 2**31 - 1)}
        for name, (low, high) in ranges.items():
            value, kind = getattr(self, name), float if name == "minutes" else int
            fits = isinstance(value, (int, np.integer) if kind is int else (int, float, np.integer, np.floating))
            if isinstance(value, bool) or not fits or not low <= value <= high:
                what = "number" if kind is float else "whole number"
                raise InputError(f"street: {name} must be a {what} from {low} to {high}, got {value!r}")
            object.__setattr__(self, name, kind(value))


@dataclass(frozen=True, eq=False)
class Crop:
    """One person as a detector would cut them out, with the truth.

    Args:
        pixels: 128 x 64 x 3, uint8, before JPEG.
        mask: 128 x 64, bool: what shows of the person and of what they carry.
        keypoints: 14 x 3, float32: x, y in pixels of the crop, and how visible the joint is: 1 seen, 0 hidden or
            outside, `World.behind_oneself` (0 on the street, 0.5 on the dance stage) where the own body alone hides it.
        box: 4: x0, y0, x1, y1 in pixels of the frame.
        visible: share of the person that nothing hides.
        attributes: of the sighting, as in `wardrobe.SIGHTING_VALUES`, and `visible` in percent.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    keypoints: NDArray[np.float32]
    box: NDArray[np.float32]
    visible: float
    attributes: dict[str, int]


@dataclass(frozen=True, eq=False)
class Frame:
    """One full picture of a camera, with the truth about the A people who show in it.

    Args:
        pixels: 540 x 960 x 3, uint8.
        pids: A, int64.
        boxes: A x 4, float32: x0, y0, x1, y1, the whole person with a small margin, clipped to the frame.
        keypoints: A x 14 x 3, float32: x, y in pixels of the frame, and how visible, as in `Crop`.
        visible: A, float32: share of what lies within the frame that nothing hides.
        time: seconds on the common clock.
    """

    pixels: NDArray[np.uint8]
    pids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    visible: NDArray[np.float32]
    time: float


class World(ABC, Generic[P]):
    """People before cameras; everything follows from the seed.

    Args:
        seed: of everything.
        duration: seconds on the common clock, in the middle of which day turns to dusk.
        sites: the place of each camera; `graph` says where these lie.
        looks: of each person.
        visits: who stands before which camera when.
        layers: gives the empty place of a camera (0, 1, ...); None: it is rendered when first asked for.
    """

    settings: Any
    behind_oneself = 0.0
    """How visible a joint is that the person's own body alone hides."""

    def __init__(
        self, seed: int, duration: float, sites: list[Site], graph: Graph, looks: list[Look], visits: list[P],
        layers: Callable[[int], Layers] | None,
    ) -> None:  # fmt: skip
        self.seed, self.duration = seed, duration
        self.sites, self.graph, self.looks, self.visits = sites, graph, looks, visits
        self._by_node = [[v for v in visits if v.node == n] for n in range(len(sites))]
        self.layers = lru_cache(maxsize=8)(layers or (lambda node: render_layers(seed, sites[node])))
        self.person = lru_cache(maxsize=512)(self._person)
        self.static = lru_cache(maxsize=8)(self._static)

    def _person(self, pid: int) -> Person:
        worn = self.looks[pid - 1]
        body = build(worn)
        return Person(worn, body, Cloth(worn, body.origins))

    def _static(self, node: int) -> Caster:
        mesh = self.sites[node].mesh
        return Caster(mesh.vertices, mesh.faces)

    @abstractmethod
    def shots(self, visits: list[P]) -> Iterator[tuple[P, int, Crop]]:
        """The crops of some visits with their frame numbers."""

    def actor(self, visit: P, time: float) -> Actor:
        """The person of a visit, posed at `time`."""
        return actor(self.person(visit.pid), visit, time, self.sites[visit.node].camera)

    def span(self, node: int) -> tuple[int, int]:
        """First frame number of a camera's recording, and the one after its last."""
        return 0, int(self.duration * FPS)

    def actors(self, node: int, time: float, region: NDArray[np.float64], me: P | None = None) -> list[Actor]:
        """Everybody who shows in a region of a camera's frame at `time`, or casts a shadow into it; not `me`."""
        camera, found = self.sites[node].camera, []
        for v in self._by_node[node]:
            if v.start <= time <= v.end and v is not me:
                x, y, _ = v.place(time)
                tall = 1.05 * self.looks[v.pid - 1].height
                ends, depth = camera.project([[x, y, 0], [x, y, tall]])
                half = 0.55 * (ends[0, 1] - ends[1, 1])
                rough = np.array(
                    [ends[:, 0].min() - half, ends[1, 1], ends[:, 0].max() + half, ends[0, 1] + 0.1 * half]
                )
                if depth.min() > 1.0 and _reaches(rough, region):
                    found.append(self.actor(v, time))
        return found

    def calibration(self, node: int) -> dict[str, list[list[float]] | list[float]]:
        """K, R, t of a camera in the world's coordinates (metres): a point X is seen at K (R X + t)."""
        camera, turn = self.sites[node].camera, sk.turn(2, float(self.graph.turns[node]))
        rotation = camera.R @ turn.T
        shift = camera.t - rotation @ np.append(self.graph.places[node], 0.0)
        return {"K": camera.K.tolist(), "R": rotation.tolist(), "t": shift.tolist()}

    def crop(self, visit: P, number: int) -> Crop | None:
        """The person of a visit at frame `number`; None if the frame cuts them off or too much hides them."""
        node, time, seed = visit.node, number / FPS, self.seed
        camera = self.sites[node].camera
        me = self.actor(visit, time)
        rng = stream(seed, 11, visit.number, number)
        box = _detected(me.box, rng)
        if box[0] < 0 or box[1] < 0 or box[2] > WIDTH or box[3] > HEIGHT:
            return None
        near = [me, *self.actors(node, time, box, me=visit)]
        stage, tall = self.stage(node, time), box[3] - box[1]
        h = min(CROP_HEIGHT, max(round(tall), 2) // 2 * 2)
        seen = view(near, stage, box, (h, h // 2), rng)
        visible = seen.seen[0] / max(seen.whole[0], 1.0)
        if visible < MIN_VISIBLE:
            return None
        pixels = develop(seen.radiance, camera.sensor, *self._exposure(node, time), stage.light.dark, h / tall, rng)
        mask = seen.alpha[0]
        if h < CROP_HEIGHT:
            from PIL import Image

            size = (CROP_WIDTH, CROP_HEIGHT)
            pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.BILINEAR))
        joints, shown = joints_in(me, near[1:], stage, self.behind_oneself)
        joints = (joints - box[:2]) / (box[2:] - box[:2]) * [CROP_WIDTH, CROP_HEIGHT]
        shown *= ((joints >= 0) & (joints < [CROP_WIDTH, CROP_HEIGHT])).all(axis=1)
        way = camera.centre[:2] - me.pose.origins[sk.PELVIS, :2]
        side = np.arctan2(way[1], way[0]) - (me.heading + np.pi / 2)  # anticlockwise: towards the person's left
        attributes = {
            "angle": int(np.round(side / (np.pi / 4))) % 8,
            "action": visit.doing(time),
            "occlusion": int(np.digitize(1 - visible, (0.10, 0.35))),
            "light": int(stage.light.dark > 0.5),
            "visible": round(100 * visible),
        }
        points = np.c_[joints, shown].astype(np.float32)
        return Crop(pixels, mask >= 0.5, points, box.astype(np.float32), float(visible), attributes)

    def stage(self, node: int, time: float) -> Stage:
        """A camera and its place at `time`, without the people."""
        seed, here = self.seed, self.sites[node]
        light = light_at(seed, time, self.duration)
        return Stage(here.camera, self.layers(node), self.static(node), sun_in_site(seed, node + 1), here.lamps, light)

    def _exposure(self, node: int, time: float) -> tuple[float, NDArray[np.floating]]:
        """Gain and white balance that the camera has settled on; they wander a little."""
        rng = stream(self.seed, 12, node, int(time / 8))
        light = light_at(self.seed, time, self.duration)
        gain = _BRIGHTNESS / self.layers(node).mean(light) ** 0.85 * np.exp(rng.normal(0, 0.07))
        lamp = np.array([1.0, 0.76, 0.48]) ** (-0.6 * light.dark)
        return float(gain), lamp / lamp.mean() * np.exp(rng.normal(0, 0.025, 3))

    def frame(self, node: int, time: float) -> Frame:
        """A camera's full picture at `time` seconds, with everybody in it."""
        if not 0 <= time <= self.duration:
            raise InputError(f"street: the time must lie between 0 and {self.duration:g} seconds, got {time:g}")
        rng, stage = stream(self.seed, 13, node, round(time * 1000)), self.stage(node, time)
        whole = np.array([0.0, 0.0, WIDTH, HEIGHT])
        everybody = [a for a in self.actors(node, time, whole) if _in_frame(a.box)]
        seen = view(everybody, stage, whole, (HEIGHT, WIDTH), rng)
        shows = np.flatnonzero(seen.seen > 0)  # somebody behind a wall is not in the picture
        exposure = self._exposure(node, time)
        pixels = develop(seen.radiance, stage.camera.sensor, *exposure, stage.light.dark, 1.0, rng)
        boxes, points = [], []
        for a in (everybody[k] for k in shows):
            joints, shown = joints_in(a, [b for b in everybody if b is not a], stage, self.behind_oneself)
            shown *= ((joints >= 0) & (joints < [WIDTH, HEIGHT])).all(axis=1)
            points.append(np.c_[joints, shown])
            margin = 0.03 * (a.box[3] - a.box[1])
            grown = np.add(a.box, [-margin, -margin, margin, margin])
            boxes.append(np.clip(grown, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]))
        return Frame(
            pixels,
            np.array([everybody[k].visit.pid for k in shows], np.int64),
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array(points, np.float32).reshape(-1, len(sk.JOINTS), 3),
            (seen.seen[shows] / seen.whole[shows]).astype(np.float32),
            time,
        )

    def attributes(self, pid: int) -> dict[str, int]:
        """Attributes of an identity, as in `wardrobe.VALUES`."""
        return {name: self.looks[pid - 1].attributes[name] for name in VALUES}


class Street(World[Visit]):
    """A rendered camera network; everything follows from the settings.

    Args:
        settings: what it is made from.
        layers: as in `World`.
        visits: what `trips` gave for the same settings, where that is known already.
    """

    def __init__(
        self, settings: Settings, layers: Callable[[int], Layers] | None = None, visits: list[Visit] | None = None
    ) -> None:
        self.settings, seed, duration = settings, settings.seed, 60.0 * settings.minutes
        sites = [site(seed, c + 1) for c in range(settings.cameras)]
        graph = camera_graph(seed, settings.cameras)
        looks = [look(seed, p + 1) for p in range(settings.identities)]
        visits = visits or trips(seed, sites, graph, looks, duration)
        super().__init__(seed, duration, sites, graph, looks, visits, layers)

    def candidates(self, visit: Visit) -> list[int]:
        """Frame numbers at which the person of a visit stands wholly within the picture, large enough to be cut out."""
        camera, height = self.sites[visit.node].camera, self.looks[visit.pid - 1].height
        first, last = int(np.ceil(visit.start * FPS)), int(visit.end * FPS)
        numbers = np.arange(first, last + 1, 4)
        places = visit.positions(numbers / FPS)
        feet, depth = camera.project(np.c_[places, np.zeros(len(places))])
        head, _ = camera.project(np.c_[places, np.full(len(places), height)])
        tall = feet[:, 1] - head[:, 1]
        inside = (feet[:, 0] > 0.35 * tall) & (feet[:, 0] < WIDTH - 0.35 * tall)
        inside &= (head[:, 1] > 0.1 * tall) & (feet[:, 1] < HEIGHT - 0.12 * tall)
        return numbers[inside & (depth > 2) & (tall > MIN_HEIGHT)].tolist()

    def crops(self, visit: Visit) -> list[tuple[int, Crop]]:
        """Up to `PER_VISIT` crops of a visit with their frame numbers, spread over the time it can be seen."""
        numbers = self.candidates(visit)
        if not numbers:
            return []
        rng = stream(self.seed, 10, visit.number)
        places = (np.arange(PER_VISIT) + rng.uniform(0.1, 0.9, PER_VISIT)) / PER_VISIT * len(numbers)
        chosen = sorted({numbers[int(k)] for k in places})
        found = ((number, self.crop(visit, number)) for number in chosen)
        return [(number, crop) for number, crop in found if crop is not None]

    def shots(self, visits: list[Visit]) -> Iterator[tuple[Visit, int, Crop]]:
        """The crops of some visits with their frame numbers."""
        return ((visit, number, crop) for visit in visits for number, crop in self.crops(visit))


def _detected(tight: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A detector's box about a person: a small, uneven margin, twice as high as wide."""
    x0, y0, x1, y1 = tight
    tall = y1 - y0
    margin = np.clip(rng.normal(0.045, 0.02, 4), 0.015, 0.11) * tall
    x0, y0, x1, y1 = x0 - 0.6 * margin[0], y0 - margin[1], x1 + 0.6 * margin[2], y1 + margin[3]
    wide, tall = x1 - x0, y1 - y0
    if wide < tall / 2:
        share = np.clip(rng.normal(0.5, 0.10), 0.15, 0.85)
        x0, x1 = x0 - share * (tall / 2 - wide), x1 + (1 - share) * (tall / 2 - wide)
    else:
        share = np.clip(rng.normal(0.5, 0.10), 0.15, 0.85)
        y0, y1 = y0 - share * (2 * wide - tall), y1 + (1 - share) * (2 * wide - tall)
    return np.array([x0, y0, x1, y1])


def _surroundings(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a person can change the picture, shadow included: whole pixels within the frame."""
    tall = box[3] - box[1]
    grown = np.add(box, [-1.7 * tall, -0.7 * tall, 1.7 * tall, 0.8 * tall])
    return np.clip(np.round(grown), 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])


def _reaches(box: NDArray[np.float64], region: NDArray[np.float64]) -> bool:
    grown = _surroundings(box)
    return bool((grown[:2] < region[2:]).all() and (grown[2:] > region[:2]).all())


def _in_frame(box: NDArray[np.float64]) -> bool:
    return bool(box[0] < WIDTH and box[1] < HEIGHT and box[2] > 0 and box[3] > 0)


def frame(street: World[Any], camid: int, time: float) -> Frame:
    """The picture that camera `camid` (1, 2, ...) takes of a street at `time` seconds, with the truth about it.

    Raises:
        InputError: the street has no such camera, or the recording is over by then.
    """
    if not 1 <= camid <= len(street.sites):
        raise InputError(f"street: there is no camera {camid}; they are numbered from 1 to {len(street.sites)}")
    return street.frame(camid - 1, time)
