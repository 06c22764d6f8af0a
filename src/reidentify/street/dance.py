"""A dance stage: groups of dancers, each filmed by one fixed camera, made like DanceReID (see `docs/data.md`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from reidentify.errors import InputError
from reidentify.street.actors import Actor
from reidentify.street.choreography import RATE, Steps, choreography
from reidentify.street.noise import stream
from reidentify.street.scene import Layers
from reidentify.street.sites import dance_floor
from reidentify.street.skeleton import Stance
from reidentify.street.traffic import DANCE, Graph
from reidentify.street.wardrobe import Look, troupe
from reidentify.street.world import FPS, Crop, World

EVERY = 5  # frames of the recording from one picture to the next: two pictures a second


@dataclass(frozen=True)
class DanceSettings:
    """What a dance stage is made from; equal settings give equal files.

    Args:
        videos: 3 to 99, each of another group before another camera.
        dancers: 2 to 9 people in each.
        seconds: length of each video, 10 to 600.
        seed: 0 to 2**31 - 1.

    Raises:
        InputError: a value outside its range.
    """

    videos: int = 18
    dancers: int = 5
    seconds: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {"videos": (3, 99), "dancers": (2, 9), "seconds": (10, 600), "seed": (0, 2**31 - 1)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
                raise InputError(f"street: {name} must be a whole number from {low} to {high}, got {value!r}")
            object.__setattr__(self, name, int(value))


@dataclass(frozen=True, eq=False)
class Dancer:
    """One person in their group's video.

    Args:
        number: position in the list of all dancers.
        pid: 1, 2, ...
        node: position of the camera, 0, 1, ...
        start, end: of the video, seconds on the common clock.
        steps: what they do.
    """

    number: int
    pid: int
    node: int
    start: float
    end: float
    steps: Steps

    def place(self, time: float) -> tuple[float, float, float]:
        """x, y in metres and the heading in radians."""
        x, y, heading = self._at(time)[:3].tolist()
        return x, y, heading

    def doing(self, time: float) -> int:
        """What the person does: dance."""
        return DANCE

    def stance(self, look: Look, time: float) -> Stance:
        """What the body is asked to do: the figure of the moment, and steps along the way walked."""
        _, _, heading, arc, still = self._at(time).tolist()
        x, y, _, arcs, _ = self._columns.T
        return Stance(
            path=lambda s: (float(np.interp(s, arcs, x)), float(np.interp(s, arcs, y)), heading),
            arc=arc, still=still, figure=self.steps.figure(time - self.start),
        )  # fmt: skip

    @cached_property
    def _columns(self) -> np.ndarray:
        """x, y, heading, metres walked, and 1 where the person stands; T x 5."""
        way = self.steps.tracks[:, :2]
        walked = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(way, axis=0), axis=1))]
        pace = np.hypot(*np.gradient(way, axis=0).T) * RATE
        moving = np.clip(pace / 0.7, 0, 1)
        still = 1 - moving * moving * (3 - 2 * moving)
        return np.c_[self.steps.tracks, walked + 1e-7 * np.arange(len(way)), still]  # rising also while standing

    def _at(self, time: float) -> np.ndarray:
        columns = self._columns
        moment = np.arange(len(columns)) / RATE
        return np.array([np.interp(time - self.start, moment, column) for column in columns.T])


class Stage(World[Dancer]):
    """Groups of dancers before one camera each; everything follows from the settings.

    The videos are spread over one day, so that some are of the dusk. Two thirds of them, with everybody in them, are
    for training.

    Args:
        settings: what it is made from.
        layers: as in `World`.
        visits: the dancers of the same settings, where they are known already.
    """

    behind_oneself = 0.5  # its place is known, and who draws a pose needs it; COCO's "labelled but not visible"

    def __init__(
        self, settings: DanceSettings, layers: Callable[[int], Layers] | None = None, visits: list[Dancer] | None = None
    ) -> None:
        self.settings, seed, videos = settings, settings.seed, settings.videos
        sites = [dance_floor(seed, n + 1) for n in range(videos)]
        apart = 3 * settings.seconds  # from the beginning of one video to that of the next
        looks = [worn for n in range(videos) for worn in troupe(seed, n, settings.dancers)]
        if visits is None:
            visits = []
            for n, place in enumerate(sites):
                rng, eye = stream(seed, 19, n), place.camera.centre
                for steps in choreography(rng, eye, settings.dancers, settings.seconds):
                    start, k = float(apart * n), len(visits)
                    visits.append(Dancer(k, k + 1, n, start, start + settings.seconds, steps))
        # No way leads from one video to another: the places lie far apart.
        places = 1000.0 * np.stack([np.arange(videos), np.zeros(videos)], 1)
        graph = Graph(places, np.zeros(videos), np.full((videos, videos), np.inf))
        super().__init__(seed, float(apart * videos), sites, graph, looks, visits, layers)
        self._posed = lru_cache(maxsize=settings.dancers)(super().actor)

    def actor(self, visit: Dancer, time: float) -> Actor:
        """The dancer, posed at `time`; those of the last moment are kept, for they are in one another's pictures."""
        return self._posed(visit, time)

    def span(self, node: int) -> tuple[int, int]:
        """First frame number of a camera's recording, and the one after its last."""
        first = 3 * self.settings.seconds * FPS * node
        return first, first + self.settings.seconds * FPS

    def shots(self, visits: list[Dancer]) -> Iterator[tuple[Dancer, int, Crop]]:
        """The crops of some dancers of one video, with their frame numbers; too much hidden, they are in none."""
        for number in range(*self.span(visits[0].node), EVERY):
            for visit in visits:
                crop = self.crop(visit, number)
                if crop is not None:
                    yield visit, number, crop

    def training_videos(self) -> set[int]:
        """The cameras, 1, 2, ..., whose videos are for training: two thirds."""
        order = stream(self.seed, 20).permutation(self.settings.videos) + 1
        return set(order[: round(2 * self.settings.videos / 3)].tolist())
