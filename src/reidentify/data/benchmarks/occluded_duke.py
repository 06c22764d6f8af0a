"""Occluded-Duke: DukeMTMC-reID split anew so that every query is occluded. Only the format is supported."""

from __future__ import annotations

from pathlib import Path

from reidentify.data.benchmark import Benchmark, Counts, Facts
from reidentify.data.benchmarks import dukemtmcreid, layout

FACTS = Facts(
    title="Occluded-Duke",
    paper="Miao et al., Pose-Guided Feature Alignment for Occluded Person Re-Identification, ICCV 2019, section 4.1;"
    " counts as in its published lists train.list, query.list, gallery.list",
    licence="made of DukeMTMC-reID, which its authors withdrew in 2019 over the privacy of the people in it",
    obtain="Only lists of names are published (https://github.com/lightas/Occluded-DukeMTMC-Dataset); they apply to a"
    " copy of DukeMTMC-reID, which is not offered any more.",
    folder="Occluded_Duke",
    counts={"train": Counts(15_618, 702, 8), "query": Counts(2_210, 519, 8), "gallery": Counts(17_661, 1_110, 8)},
    fps=dukemtmcreid.FPS,
    notes="Times as in DukeMTMC-reID. Its identities overlap those of DukeMTMC-reID: do not train on one and test on"
    " the other.",
)
VARIANTS: dict[str, Facts] = {}


def read(root: Path, variant: str | None, split: int) -> Benchmark:
    """Read the set."""
    layout.check_split(split, FACTS)
    home = layout.locate(root, FACTS, dukemtmcreid.FOLDERS, ["occluded-dukemtmc", "occluded-dukemtmc-reid"])
    return Benchmark("occluded-duke", dukemtmcreid.folders(home), facts=FACTS)
