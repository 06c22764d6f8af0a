"""Space-time statistics of a training set: fitted, fused with appearance, written and drawn."""

from __future__ import annotations

import os
from pathlib import Path

from reidentify import files
from reidentify.errors import InputError
from reidentify.ranking.clocks import Clocks, estimate_offsets
from reidentify.ranking.fusion import Fusion, LogisticFusion, LogOddsFusion
from reidentify.ranking.spacetime import FILE, SpaceTime
from reidentify.report import spacetime as pictures
from reidentify.report.charts import LIGHT
from reidentify.training.settings import SpaceTimeSettings
from reidentify.values import Embeddings, Sightings

CLOCKS = "clocks.json"
"""How far the cameras' clocks are apart, beside the statistics."""


def learn(settings: SpaceTimeSettings, train: Sightings, holdout: bool) -> SpaceTime:
    """Learn the statistics.

    Args:
        settings: how.
        train: training rows with cameras and times.
        holdout: whether there will be held-out identities for the calibrated fusion.

    Raises:
        InputError: rows without cameras or times, or no held-out identities where the fusion needs them.
    """
    s = settings
    if s.fusion == "calibrated" and not holdout:
        raise InputError(
            "the calibrated fusion is learned from held-out identities: set input.holdout above 0, name weights in"
            " `reidentify spacetime fit`, or take the published fusion"
        )
    return SpaceTime(bin_width=s.bin_width, bins=s.bins, visits=s.visits, visit_gap=s.visit_gap).fit(train)


def fuse(
    settings: SpaceTimeSettings,
    statistics: SpaceTime,
    held: Embeddings | None,
    out: str | os.PathLike[str],
    own_clocks: bool,
) -> tuple[Fusion, Clocks]:
    """Learn how much the statistics weigh beside appearance, and write both with their pictures.

    Args:
        settings: how.
        statistics: from `learn`.
        held: embeddings of training identities that neither the statistics nor the network has seen; None for the
            published fusion.
        out: the folder for `spacetime.safetensors`, its JSON, `clocks.json`, `intervals.png` and `network.png`.
        own_clocks: the cameras share no clock, so travel times are drawn after the estimated clocks.
    """
    fusion: Fusion = LogisticFusion(statistics, settings.sigma)
    if settings.fusion == "calibrated" and held is not None:
        fusion = LogOddsFusion.fit(statistics, held)
    fusion.save(Path(out) / FILE)
    clocks = estimate_offsets(statistics)
    files.write(Path(out) / CLOCKS, clocks.to_json())
    draw(statistics, out, clocks if own_clocks else None)
    return fusion, clocks


def draw(statistics: SpaceTime, out: str | os.PathLike[str], clocks: Clocks | None = None) -> None:
    """Write `intervals.png` and `network.png`, the latter after `clocks` where the cameras share none."""
    files.write(Path(out) / "intervals.png", pictures.intervals(statistics, LIGHT))
    files.write(Path(out) / "network.png", pictures.network(statistics, LIGHT, clocks))


def report(clocks: Clocks) -> str:
    """The clock of every camera in words, a line each."""
    lines = ["clocks of the cameras, relative to the first one, estimated from people who walk both ways:"]
    for camera, seconds, people, spread in zip(clocks.cameras, clocks.seconds, clocks.people, clocks.spread):
        sure = f"links disagree by {spread:.0f} s" if spread == spread else "nothing to check it against"
        known = f"{seconds:+8.0f} s" if seconds == seconds else " unknown  "
        lines.append(f"  camera {camera}: {known}  ({people} identities seen elsewhere too, {sure})")
    return "\n".join(lines)
