"""The street's dance stage: images of groups of dancers who never lived, with complete truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from reidentify.data.benchmark import Benchmark, Facts
from reidentify.data.benchmarks import street
from reidentify.ranking.protocol import DANCEREID_STRICT

FACTS = replace(
    street.FACTS,
    title="the street's dance stage",
    obtain="It is rendered when a command first asks for it; one of your own: reidentify stage --out DIR.",
    folder="street-dance",
    notes="Made like DanceReID: 18 videos of 5 dancers each, one fixed camera per video (a video is a camera here), a"
    " minute long, two pictures a second. The people of a video are dressed from one small wardrobe, change formation,"
    " hide one another and leave the picture; a dancer of whom less than 40 hundredths show has no picture at that"
    " moment. 12 videos with everybody in them train, 6 test. Every test picture asks. Times run on one clock; joints"
    " (14), masks and attributes are exact. A joint that the dancer's own body alone hides has a visibility of 0.5.",
)
VARIANTS: Mapping[str, Facts] = {}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the stage under `root / "street-dance"`, or at `root` itself.

    Raises:
        InputError: as `street.read_rendered`.
    """
    return street.read_rendered(root, FACTS, split, protocol=DANCEREID_STRICT, dance=True)
