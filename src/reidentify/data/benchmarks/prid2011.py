"""PRID2011: two cameras over a street, 200 people seen by both; its single images, or its tracklets; seeded splits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import layout
from reidentify.data.benchmarks.tracklets import views as video_views
from reidentify.data.root import image_files
from reidentify.errors import InputError
from reidentify.ranking.protocol import SINGLE_SHOT
from reidentify.values import Sightings

SHARED = 200
"""People 1 to 200 are the same in both views; higher numbers mean different people in each."""

FACTS = Facts(
    title="PRID2011",
    paper="Hirzer et al., Person Re-Identification by Descriptive and Discriminative Classification, SCIA 2011 (385 and"
    " 749 people, 200 in both); 100 of the 200 for training as in Hirzer et al., Relaxed Pairwise Learned Metric for"
    " Person Re-identification, ECCV 2012",
    licence="research only",
    obtain="Get it at https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/PRID11/ and unpack it so"
    " that prid_2011/single_shot holds cam_a and cam_b.",
    folder="prid_2011",
    counts={"train": Counts(200, 100, 2), "query": Counts(100, 100, 1), "gallery": Counts(649, 649, 1)},
    splits=layout.RANDOM_SPLITS,
    notes="No splits are published: @0 to @9 are seeded. Probes from view A are searched among 100 partners and the 549"
    " people whom only view B shows; the 185 whom only view A shows are not used.",
)
VARIANTS = {
    "multi-shot": replace(
        FACTS,
        title="PRID2011, multi-shot",
        paper="Hirzer et al., Person Re-Identification by Descriptive and Discriminative Classification, SCIA 2011;"
        " the 178 people and their halves as in Wang et al., Person Re-Identification by Video Ranking, ECCV 2014",
        obtain="Get it at https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/PRID11/ and unpack"
        " it so that prid_2011/multi_shot holds cam_a and cam_b; put splits_prid2011.json, which torchreid's page of"
        " data sets links, into prid_2011 or beside it.",
        counts={
            "train": Counts(None, 89, 2, 178),
            "query": Counts(None, 89, 1, 89),
            "gallery": Counts(None, 89, 1, 89),
        },
        notes="@0 to @9 are the splits of splits_prid2011.json if it is there, else seeded halves of the same 178"
        " people: those of the first 200 with at least 27 frames in both views (papers speak of more than 21 frames,"
        " but 183 people have as many). Queries are tracklets of view A, the gallery those of view B.",
    )
}
LEAST_FRAMES = 27
"""Frames in both views of the people who take part in the multi-shot protocol, as in public loaders."""
SPLIT_FILE = "splits_prid2011.json"


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set; variant `multi-shot` reads tracklets, otherwise the single images are read."""
    layout.check_split(split, FACTS)
    if variant == "multi-shot":
        return _tracklets(root, split)
    home = layout.locate(root, FACTS, ["single_shot/cam_a", "single_shot/cam_b"], ["prid2011", "prid"])
    views = [np.array(layout.images(home / "single_shot" / view)) for view in ("cam_a", "cam_b")]
    people = [
        np.array([int(m[1]) for m in layout.parse(v, r"person_(\d+)", "person_0001.png")], dtype=np.int64)
        for v in views
    ]
    shared = people[0][people[0] <= SHARED]
    train = layout.draw(shared, len(shared) // 2, split)
    parts = []
    for camera, (files, pids, role) in enumerate(zip(views, people, ("query", "gallery")), start=1):
        trained = np.isin(pids, train)
        tested = ~trained & ((pids <= SHARED) | (role == "gallery"))
        for name, chosen in (("train", trained), (role, tested)):
            parts.append(layout.rows(files[chosen], pids[chosen], np.full(int(chosen.sum()), camera), name))
    return Benchmark("prid2011", Sightings.concat(parts), SINGLE_SHOT, FACTS)


def _tracklets(root: Path, split: int) -> Benchmark:
    facts, views = VARIANTS["multi-shot"], ("multi_shot/cam_a", "multi_shot/cam_b")
    home = layout.locate(root, facts, views, ["prid2011", "prid"])
    places = [home / view for view in views]
    file = next((p / SPLIT_FILE for p in (home, home.parent) if (p / SPLIT_FILE).is_file()), None)
    train, test = _listed(file, split) if file is not None else _halves(places, split)
    sightings = video_views(places, train, test, r"person_(\d+)", r"(\d+)", "0001.png")
    return Benchmark("prid2011-multi-shot", sightings, SINGLE_SHOT, facts)


def _listed(file: Path, split: int) -> tuple[list[str], list[str]]:
    """The names of the people's folders for training and testing, of a published split."""
    try:
        parts = json.loads(file.read_text())[split]
        train, test = (sorted(str(name) for name in parts[side]) for side in ("train", "test"))
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{file}: split {split} cannot be read ({error}); get the file again") from None
    return train, test


def _halves(places: list[Path], split: int) -> tuple[list[str], list[str]]:
    """The same of a seeded split."""
    shared = [f"person_{number:04d}" for number in range(1, SHARED + 1)]
    long = [name for name in shared if all(_frames(place / name) >= LEAST_FRAMES for place in places)]
    if len(long) < 2:
        raise InputError(f"{places[0].parent}: {len(long)} people have {LEAST_FRAMES} frames in both views; two needed")
    trained = set(layout.draw(np.arange(len(long)), len(long) // 2, split).tolist())
    return [n for i, n in enumerate(long) if i in trained], [n for i, n in enumerate(long) if i not in trained]


def _frames(folder: Path) -> int:
    return len(image_files(folder)) if folder.is_dir() else 0
