"""What people look like: attributes, their values, and how they are drawn."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reidentify.street.noise import stream
from reidentify.street.skeleton import Gait

COLOURS = {  # sRGB; a limited wardrobe, so that a colour alone names nobody
    "black": (32, 32, 35), "grey": (112, 114, 118), "white": (216, 216, 212), "navy": (38, 46, 78),
    "blue": (62, 98, 158), "red": (158, 40, 44), "green": (62, 96, 66), "brown": (98, 70, 52),
    "beige": (188, 168, 138), "yellow": (208, 172, 62), "pink": (206, 136, 150), "purple": (96, 62, 112),
}  # fmt: skip

VALUES: dict[str, tuple[str, ...]] = {
    "build": ("slim", "average", "broad"),
    "stature": ("short", "medium", "tall"),
    "hair": ("bald", "cropped", "short", "full", "bob", "long", "ponytail", "bun"),
    "hair_colour": ("black", "brown", "blond", "grey", "red"),
    "hat": ("none", "cap", "beanie", "brim"),
    "bag": ("none", "backpack", "shoulder bag", "handbag", "shopping bag", "suitcase"),
    "upper_type": ("shirt", "jacket", "coat"),
    "upper_colour": tuple(COLOURS),
    "pattern": ("plain", "stripes", "checks", "print", "two-tone"),
    "sleeve": ("short", "long"),
    "lower_type": ("trousers", "shorts", "skirt"),
    "lower_colour": tuple(COLOURS),
    "shoes": ("dark", "light", "coloured"),
}
"""Attributes of an identity: the integer is the position in the tuple."""

SIGHTING_VALUES: dict[str, tuple[str, ...]] = {
    "angle": ("front", "front-left", "left", "back-left", "back", "back-right", "right", "front-right"),
    "action": ("walk", "stand", "carry", "dance"),
    "occlusion": ("none", "partial", "heavy"),
    "light": ("day", "dusk"),
}
"""Attributes of a sighting. `angle` is the side of the person that the camera sees. `occlusion`: up to a tenth of the
person is hidden, up to 35 hundredths, more. Beside them stands `visible`, the percentage that is not hidden."""

_SKIN = np.array([(206, 160, 134), (190, 142, 114), (164, 114, 86), (126, 84, 60), (88, 58, 44), (64, 44, 36)])
_HAIR = np.array([(28, 24, 24), (70, 48, 34), (168, 132, 84), (138, 136, 134), (122, 62, 36)])
_UPPER = np.array([19, 14, 13, 11, 9, 8, 6, 5, 6, 3, 4, 2], float)
_LOWER = np.array([28, 15, 4, 24, 12, 1, 3, 6, 7, 0, 0, 0], float)


@dataclass(frozen=True, eq=False)
class Look:
    """One identity: attributes by name (integers into `VALUES`) and the numbers behind them.

    Args:
        attributes: as in `VALUES`.
        height: stature in metres.
        girth: width of trunk and limbs relative to an average build.
        shoulders, hips: relative widths.
        belly: extra depth of the waist, metres.
        gait: how the person walks.
        colours: linear RGB by name: skin, hair, upper, upper2, lower, shoes, sole, hat, bag, bag2.
        scale: size of the pattern in metres.
        turn: of the pattern: 0 horizontal, 1 vertical.
        loose: extra radius of trousers and sleeves, metres.
        side: +1 or -1, the shoulder or hand that has the bag.
        gloss: 0 matt cloth to 1 leather.
        seed: of everything small: wrinkles, prints.
    """

    attributes: dict[str, int]
    height: float
    girth: float
    shoulders: float
    hips: float
    belly: float
    gait: Gait
    colours: dict[str, NDArray[np.float32]]
    scale: float
    turn: int
    loose: float
    side: int
    gloss: float
    seed: int


def linear(srgb: NDArray[np.floating] | tuple[int, ...]) -> NDArray[np.float32]:
    """sRGB bytes to linear RGB from 0 to 1."""
    return ((np.asarray(srgb, np.float32) / 255) ** 2.2).astype(np.float32)


def look(seed: int, person: int) -> Look:
    """The look of identity `person` (1, 2, ...) of a street; depends on nothing else."""
    rng = stream(seed, 1, person)

    def pick(name: str, weights: object) -> int:
        w = np.asarray(weights, float)
        if len(w) != len(VALUES[name]):
            raise ValueError(f"{name}: one weight per value")
        return int(rng.choice(len(w), p=w / w.sum()))

    def dye(index: int, spread: float = 7.0) -> NDArray[np.float32]:
        base = np.asarray(list(COLOURS.values())[index], float)
        base = base + 0.2 * (base.mean() - base)  # worn cloth is duller than its name
        return linear(np.clip(base * rng.normal(1, 0.07) + rng.normal(0, spread, 3), 14, 236))

    slender = rng.random()  # one axis of body shape: 0 broad-shouldered, 1 wide-hipped
    height = float(np.clip(rng.normal(1.78 - 0.13 * slender, 0.065), 1.48, 1.98))
    girth = float(np.clip(rng.normal(1.0, 0.11), 0.82, 1.32))
    a: dict[str, int] = {
        "build": int(np.digitize(girth, (0.93, 1.09))),
        "stature": int(np.digitize(height, (1.65, 1.78))),
    }
    long_hair = slender > 0.5
    a["hair"] = pick("hair", (0.4, 1, 2, 1.2, 3, 4, 3, 2) if long_hair else (1.5, 4, 5, 1.5, 0.4, 0.4, 0.3, 0.1))
    a["hair_colour"] = pick("hair_colour", (5, 5, 2.5, 1.5, 0.8))
    a["hat"] = pick("hat", (7.2, 1.4, 0.8, 0.6))
    a["bag"] = pick("bag", (3.2, 2.4, 1.5, 1.0, 1.1, 0.6))
    a["upper_type"] = pick("upper_type", (6, 3, 1.3))
    a["upper_colour"] = pick("upper_colour", _UPPER)
    a["pattern"] = pick("pattern", (5.5, 1.3, 0.9, 1.2, 1.4))
    a["sleeve"] = pick("sleeve", (5.5, 4.5)) if a["upper_type"] == 0 else 1
    a["lower_type"] = pick("lower_type", (5, 1.5, 3) if long_hair else (7.5, 2.5, 0.02))
    a["lower_colour"] = pick("lower_colour", _LOWER)
    a["shoes"] = pick("shoes", (5, 3.2, 1.8))

    other = int(rng.choice(len(COLOURS), p=(w := _UPPER * (np.arange(12) != a["upper_colour"])) / w.sum()))
    skin = _SKIN[int(rng.choice(6, p=[0.22, 0.27, 0.2, 0.13, 0.1, 0.08]))] * rng.normal(1, 0.04)
    bag = int(rng.choice(len(COLOURS), p=np.array([26, 12, 3, 12, 8, 7, 6, 12, 6, 3, 3, 2]) / 100))
    shoes = ((0, 7), (2, 1), (5, 4))[a["shoes"]]
    colours = {
        "skin": linear(np.clip(skin, 20, 245)),
        "hair": linear(np.clip(_HAIR[a["hair_colour"]] * rng.normal(1, 0.1), 10, 220)),
        "upper": dye(a["upper_colour"]),
        "upper2": dye(other),
        "lower": dye(a["lower_colour"]),
        "shoes": dye(shoes[int(rng.integers(2))]),
        "sole": linear((200, 198, 192)) if rng.random() < 0.5 else linear((30, 28, 26)),
        "hat": dye(int(rng.choice(len(COLOURS), p=_UPPER / _UPPER.sum()))),
        "bag": dye(bag),
        "bag2": dye(0 if rng.random() < 0.6 else other),
        "parcel": linear((168, 128, 84)) * np.float32(rng.normal(1, 0.08)),
    }
    speed = float(np.clip(rng.normal(1.32, 0.16), 0.95, 1.75))
    gait = Gait(
        speed=speed,
        step=float(0.425 * height * (speed / 1.35) ** 0.45 * np.clip(rng.normal(1, 0.03), 0.93, 1.07)),
        swing=float(np.clip(rng.normal(0.40, 0.10), 0.15, 0.65)),
        lean=float(np.clip(rng.normal(0.06, 0.04), -0.02, 0.2)),
        elbow=float(np.clip(rng.normal(0.30, 0.10), 0.1, 0.6)),
        width=float(np.clip(rng.normal(0.075, 0.015), 0.045, 0.12)),
        toes=float(np.clip(rng.normal(0.14, 0.06), 0.0, 0.35)),
        sway=float(np.clip(rng.normal(0.10, 0.04), 0.02, 0.2)),
    )
    return Look(
        a, height, girth,
        shoulders=float(1.05 - 0.13 * slender + rng.normal(0, 0.015)),
        hips=float(0.95 + 0.12 * slender + rng.normal(0, 0.02)),
        belly=float(max(0.0, rng.normal(0.16 * (girth - 0.95), 0.012))),
        gait=gait, colours=colours,
        scale=float(rng.choice([0.045, 0.07, 0.11])),
        turn=int(rng.random() < 0.3),
        loose=float(rng.uniform(0.002, 0.022)),
        side=1 if rng.random() < 0.6 else -1,
        gloss=float(rng.random() ** 3) if a["upper_type"] == 1 else 0.0,
        seed=int(rng.integers(1 << 30)),
    )  # fmt: skip


def troupe(seed: int, group: int, people: int) -> list[Look]:
    """The looks of a group of dancers (0, 1, ...) who are dressed from one small wardrobe.

    There are just enough tops and trousers that no two wear the same of both; nobody carries anything. Nobody of a
    street looks like one of them by design: their looks are those of numbers above the street's.
    """
    lowers = max(2, int(np.sqrt(people)))
    uppers = -(-people // lowers)
    number = 10_000 + 1000 * group
    donors = (look(seed, number + people + k) for k in itertools.count())
    tops: dict[tuple[int, ...], Look] = {}
    legs: dict[tuple[int, ...], Look] = {}
    while len(tops) < uppers or len(legs) < lowers:
        donor = next(donors)
        a = donor.attributes
        if len(tops) < uppers:
            tops.setdefault((a["upper_colour"], a["pattern"]), donor)
        if len(legs) < lowers:
            legs.setdefault((a["lower_colour"], a["lower_type"]), donor)
    pairs = list(itertools.product(tops.values(), legs.values()))
    order = stream(seed, 18, group).permutation(len(pairs))
    return [_dressed(look(seed, number + k), *pairs[order[k]]) for k in range(people)]


def _dressed(worn: Look, top: Look, leg: Look) -> Look:
    """A look with the upper clothes of one other and the lower clothes of another, without a bag."""
    taken = {name: top.attributes[name] for name in ("upper_type", "upper_colour", "pattern", "sleeve")}
    taken |= {name: leg.attributes[name] for name in ("lower_type", "lower_colour")}
    colours = {name: top.colours[name] for name in ("upper", "upper2")} | {"lower": leg.colours["lower"]}
    return replace(
        worn, attributes={**worn.attributes, **taken, "bag": 0}, colours={**worn.colours, **colours}, scale=top.scale,
        turn=top.turn, gloss=top.gloss,
    )  # fmt: skip
