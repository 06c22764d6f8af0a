"""What a group of dancers does before one camera: formations, ways between them, and figures on the beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reidentify.street.sites import FLOOR
from reidentify.street.skeleton import Figure

F64 = NDArray[np.float64]

RATE = 10  # positions a second
_OUT = 6.9  # metres to the side where a dancer has left the picture
_SPEED = 1.5  # metres a second between formations
_APART = 0.6  # metres between the middles of two dancers whose ways cross
_TRIES = 60
_FORMATIONS = {"row": 1, "wedge": 1, "pairs": 3, "file": 3, "ring": 2, "scatter": 1}  # how often, relatively
_DOWN = (0.12, 0.0, 0.25, 0.0)
_FEET = ((0.04, 0.0, 0.0), (0.04, 0.0, 0.0))
_HIP = (0.85, -0.45, 1.75, 1.1)


def _figure(
    right: tuple[float, ...] = _DOWN, left: tuple[float, ...] = _DOWN, feet: tuple[tuple[float, ...], ...] = _FEET,
    crouch: float = 0.0, lean: float = 0.0, tilt: float = 0.0, twist: float = 0.0, nod: float = 0.0,
) -> F64:  # fmt: skip
    """A figure as numbers that can be mixed: arms (8), feet (6), trunk and head (5)."""
    return np.array([*right, *left, *feet[0], *feet[1], crouch, lean, tilt, twist, nod])


_WIDE = ((0.20, 0.0, 0.0), (0.20, 0.0, 0.0))
_UP, _SIDE, _AHEAD = (2.85, 0.1, 0.15, 0.0), (1.5, 0.0, 0.1, 0.0), (0.1, 1.5, 0.1, 0.0)
_GOAL, _HANG, _FIST = (1.5, 0.0, 1.5, -1.5), (1.4, 0.0, 1.5, 1.5), (0.15, 0.75, 1.9, 0.7)
FIGURES = np.stack([
    _figure(),
    _figure(_SIDE, _SIDE, _WIDE),
    _figure(_UP, _UP, _WIDE),
    _figure((2.4, 0.0, 0.05, 0.0), (0.6, -0.2, 0.1, 0.0), _WIDE, tilt=-0.2),
    _figure(_HIP, _HIP, _WIDE),
    _figure(_UP, _HIP, _FEET, tilt=-0.25),
    _figure(_AHEAD, _AHEAD, _WIDE, crouch=0.1),
    _figure(_FIST, _FIST, _FEET, lean=0.15),
    _figure(_GOAL, _GOAL, _WIDE),
    _figure(_GOAL, _HANG, _FEET, twist=0.3),
    _figure(_SIDE, (0.3, 1.3, 1.2, 0.4), ((0.50, 0.05, 0.0), (0.12, 0.0, 0.0)), crouch=0.14, tilt=0.2),
    _figure(_AHEAD, _AHEAD, ((0.24, 0.05, 0.0), (0.24, 0.05, 0.0)), crouch=0.33, lean=0.45),
    _figure(_SIDE, _SIDE, ((0.0, 0.60, 0.50), (0.0, 0.0, 0.0)), lean=-0.2),
    _figure((1.0, 0.0, 0.4, 0.0), _UP, ((0.60, 0.0, 0.42), (-0.02, 0.0, 0.0)), tilt=-0.4),
    _figure(_FIST, _GOAL, ((0.05, 0.22, 0.42), (0.0, 0.0, 0.0)), lean=0.2),
    _figure((0.35, 0.35, 0.1, 0.0), (0.35, 0.35, 0.1, 0.0), _WIDE, lean=1.0, nod=0.3),
    _figure((0.5, -0.8, 0.2, 0.0), (0.1, 2.6, 0.2, 0.0), ((0.04, 0.28, 0.0), (0.04, -0.25, 0.0)), crouch=0.08),
    _figure((2.6, 0.3, 1.3, -0.6), (2.6, 0.3, 1.3, -0.6), _FEET, twist=-0.4),
    _figure((0.2, 1.0, 0.6, 0.9), (1.5, -0.3, 0.1, 0.0), ((0.05, 0.0, 0.0), (0.35, -0.05, 0.0)), tilt=0.3, twist=0.5),
    _figure((0.5, 0.5, 0.3, 0.0), _UP, ((0.45, 0.1, 0.0), (0.30, -0.1, 0.0)), crouch=0.22, tilt=0.45),
])  # fmt: skip
"""K x 19: standing at ease, then everything that the stage's dancers strike; each also in its mirror image."""


def mirrored(figures: F64) -> F64:
    """The mirror images of some figures, ... x 19."""
    other = figures.copy()
    other[..., 0:4], other[..., 4:8] = figures[..., 4:8], figures[..., 0:4]
    other[..., 8:11], other[..., 11:14] = figures[..., 11:14], figures[..., 8:11]
    other[..., 16:18] *= -1
    return other


@dataclass(frozen=True, eq=False)
class Steps:
    """What one dancer does.

    Args:
        tracks: T x 3, at every tenth of a second: x, y in metres and the heading in radians, without jumps.
        begins: K, seconds at which the dancer begins to strike each figure.
        figures: K x 19.
        quick: seconds that the change to a figure takes.
    """

    tracks: F64
    begins: F64
    figures: F64
    quick: float

    def figure(self, time: float) -> Figure:
        """What the body shows at `time` seconds from the beginning."""
        k = int(np.searchsorted(self.begins, time, side="right")) - 1
        share = float(np.clip((time - self.begins[max(k, 0)]) / self.quick, 0, 1))
        share *= share * (3 - 2 * share)
        f = (1 - share) * self.figures[max(k - 1, 0)] + share * self.figures[max(k, 0)]
        return Figure(f[:8].reshape(2, 4), f[8:14].reshape(2, 3), *f[14:].tolist())


def choreography(rng: np.random.Generator, eye: F64, dancers: int, seconds: float) -> list[Steps]:
    """What every dancer of a group does before a camera at `eye` (metres) for some seconds.

    The group strikes the same figures at the same time, now and then; its members differ in how far they reach and how
    exactly they keep time. Between formations they walk, sometimes out of the picture and back.
    """
    ways = _ways(rng, eye, dancers, seconds)
    beat = float(rng.uniform(0.48, 0.65))
    begins = np.cumsum(np.r_[0.0, beat * rng.choice([1, 2, 2, 4], int(seconds / beat) + 1)])
    everything = np.concatenate([FIGURES, mirrored(FIGURES[1:])])
    common, turns = rng.integers(len(everything), size=len(begins)), _turns(rng, len(begins))
    found = []
    for k in range(dancers):
        alone = rng.random(len(begins)) < 0.45
        chosen = np.where(alone, rng.integers(len(everything), size=len(begins)), common)
        figures = FIGURES[0] + rng.uniform(0.85, 1.1) * (everything[chosen] - FIGURES[0])
        figures = figures + rng.normal(0, 0.08, figures.shape) * np.r_[np.ones(8), np.zeros(6), 0, np.ones(4)]
        mine = begins + rng.normal(0, 0.08)
        turned = np.where(alone, _turns(rng, len(begins)), turns)
        heading = _headings(ways[:, k], eye, turned[np.searchsorted(mine[1:], np.arange(len(ways)) / RATE)])
        found.append(Steps(np.c_[ways[:, k], heading], mine, figures, quick=0.8 * beat))
    return found


def _turns(rng: np.random.Generator, count: int) -> F64:
    """Where a dancer faces during each of some figures: radians from the camera to the left."""
    kept = np.repeat(rng.choice([0.0, np.pi / 2, -np.pi / 2, np.pi], count // 3 + 1, p=[0.58, 0.15, 0.15, 0.12]), 3)
    return kept[:count] + rng.normal(0, 0.25, count)


def _headings(way: F64, eye: F64, turned: F64) -> F64:
    """Where somebody faces who goes a way (T x 2): ahead while walking, else `turned` (T) from the camera."""
    from scipy.ndimage import gaussian_filter1d

    pace = np.gradient(way, axis=0) * RATE
    ahead = np.where((np.hypot(*pace.T) > 0.5)[:, None], pace, eye[:2] - way)
    heading = np.arctan2(-ahead[:, 0], ahead[:, 1]) + np.where(np.hypot(*pace.T) > 0.5, 0.0, turned)
    smooth: F64 = gaussian_filter1d(np.unwrap(heading), 2.5, mode="nearest")
    return smooth


def _ways(rng: np.random.Generator, eye: F64, dancers: int, seconds: float) -> F64:
    """Where everybody is at every tenth of a second, T x dancers x 2, metres."""
    from scipy.ndimage import gaussian_filter1d

    count = int(seconds * RATE) + 1
    ways, kind, at = np.empty((count, dancers, 2)), "scatter", 0
    here = _formation(rng, eye, dancers, kind)[0]
    while at < count:
        kind = str(rng.choice([other for other, often in _FORMATIONS.items() if other != kind for _ in range(often)]))
        slots, turn = _formation(rng, eye, dancers, kind)
        slots = _assigned(rng, here, slots)
        if turn == 0 and rng.random() < 0.5:
            leaving = rng.integers(dancers)
            slots[leaving] = np.sign(slots[leaving, 0] + 1e-3) * _OUT, FLOOR[2][0]
        lag = rng.uniform(0, 0.5, dancers)
        moving = np.linalg.norm(slots - here, axis=1) / _SPEED
        length = int((float((lag + moving).max()) + rng.uniform(2.0, 6.0)) * RATE)
        time = np.arange(length) / RATE
        share = np.clip((time[:, None] - lag) / np.maximum(moving, 0.1), 0, 1)
        part = here + share[..., None] * (slots - here)
        if turn:  # a ring goes round once everybody has come to their place
            angle = turn * np.maximum(time - (lag + moving).max(), 0)
            middle = slots.mean(axis=0)
            c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
            x, y = (part - middle).transpose(2, 0, 1)
            part = middle + np.stack([c * x - s * y, s * x + c * y], -1)
        ways[at : at + length] = part[: count - at]
        here, at = part[-1], at + length
    smooth: F64 = gaussian_filter1d(ways, 2.5, axis=0, mode="nearest")
    return smooth


def _formation(rng: np.random.Generator, eye: F64, dancers: int, kind: str) -> tuple[F64, float]:
    """Places of a formation, dancers x 2, and how fast it goes round, radians a second."""
    row = np.linspace(-1, 1, dancers)
    turn = 0.0
    if kind == "row":
        places = np.stack([2.8 * row, np.full(dancers, rng.uniform(0.6, 3.0))], 1)
    elif kind == "wedge":
        places = np.stack([2.4 * row, 1.0 + 2.2 * np.abs(row)], 1)
    elif kind == "pairs":  # one behind the other, as the camera sees it
        column = np.arange(dancers) // 2
        x = np.linspace(-2.0, 2.0, column[-1] + 1)[column] if column[-1] else np.zeros(dancers)
        places = _behind(np.stack([x, np.full(dancers, 0.8)], 1), eye, rng.uniform(0.9, 1.4) * (np.arange(dancers) % 2))
    elif kind == "file":
        front = np.array([rng.uniform(-1.5, 1.5), 0.0])
        places = _behind(np.tile(front, (dancers, 1)), eye, np.linspace(0, 4.2, dancers))
    elif kind == "ring":
        angle = 2 * np.pi * np.arange(dancers) / dancers + rng.uniform(0, 2 * np.pi)
        places = np.stack([1.7 * np.cos(angle), 2.1 + 1.7 * np.sin(angle)], 1)
        turn = float(rng.choice([-1, 1]) * rng.uniform(0.5, 0.8))
    else:
        tried = rng.uniform([-3.0, 0.0], [3.0, 4.2], (_TRIES, dancers, 2))
        places = tried[np.argmax([_nearest(one[None]) for one in tried])]
    return places + rng.normal(0, 0.08, places.shape), turn


def _behind(front: F64, eye: F64, gap: F64) -> F64:
    """Places some metres further from the camera, in the same direction."""
    way = front - eye[:2]
    moved: F64 = front + way / np.linalg.norm(way, axis=1, keepdims=True) * gap[:, None]
    return moved


def _nearest(ways: F64) -> float:
    """How near two of D people ever come to one another, T x D x 2."""
    a, b = np.triu_indices(ways.shape[1], 1)
    return float(np.linalg.norm(ways[:, a] - ways[:, b], axis=-1).min())


def _assigned(rng: np.random.Generator, here: F64, slots: F64) -> F64:
    """Who goes to which place: the first of some draws in which nobody walks through anybody, else the best of them."""
    best, widest = slots, -1.0
    share = np.linspace(0, 1, 12)[:, None, None]
    for _ in range(_TRIES):
        drawn = slots[rng.permutation(len(slots))]
        apart = _nearest(here + share * (drawn - here))
        if apart > widest:
            best, widest = drawn.copy(), apart
        if widest > _APART:
            break
    return best
