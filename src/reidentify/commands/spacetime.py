"""Commands about space and time: learn the statistics, look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reidentify.commands.shared import Use, benchmark_of


def fit(
    data: str,
    out: str,
    use: Use,
    weights: str | None = None,
    root: str | None = None,
    bin_width: float = 4.0,
    visits: Literal["cluster", "mean"] = "cluster",
    fusion: Literal["calibrated", "published"] = "calibrated",
) -> None:
    """Learn from training sightings how long people take from camera to camera.

    With weights, also how much time weighs beside their similarities, on held-out training identities.

    Examples:
      reidentify spacetime fit market-small --data market1501 --out runs/spacetime
      reidentify evaluate market-small --data market1501 --spacetime runs/spacetime --out runs/with-time
      reidentify spacetime fit --data market1501 --out runs/published --fusion published --visits mean

    Args:
        data: a data set with cameras and times, or a path to your own data.
        out: folder for spacetime.safetensors, its JSON, clocks.json, intervals.png and network.png.
        weights: the network whose similarities are fused with time; needed for the calibrated fusion.
        root: the data root; default $REIDENTIFY_DATA, else ~/.cache/reidentify/data.
        bin_width: of the histograms, in seconds.
        visits: cluster the sightings of a person at a camera into visits, or take their mean as st-ReID does.
        fusion: log-odds calibrated on held-out identities, or the logistic smoothing of st-ReID.
    """
    from reidentify.calibrate import set_aside
    from reidentify.errors import InputError
    from reidentify.training.settings import SpaceTimeSettings
    from reidentify.training.spacetime import fuse, learn, report

    if weights is not None and fusion == "published":
        raise InputError("the published fusion needs no weights: leave them out, or take --fusion calibrated")
    benchmark = benchmark_of(data, root)
    settings = SpaceTimeSettings(fit=True, bin_width=bin_width, visits=visits, fusion=fusion)
    rows, model, unseen = benchmark.train, None, None
    if weights is not None:
        model = use.load(weights)
        rows, unseen = set_aside(model.card, benchmark)
    statistics = learn(settings, rows, model is not None)
    held = None
    if model is not None and unseen is not None:
        known = model.card.dataset == benchmark.name
        held = model.embed_sightings(unseen, cameras=known, **use.options())
    own_clocks = benchmark.facts is not None and benchmark.facts.own_clocks
    found, clocks = fuse(settings, statistics, held, out, own_clocks)
    print(found)
    print(report(clocks))
    print(Path(out) / "spacetime.safetensors")


def plot(statistics: str, out: str | None = None, own_clocks: bool = False) -> None:
    """Draw the intervals of every pair of cameras, and the camera network with its travel times.

    Example: reidentify spacetime plot runs/spacetime --out pictures

    Args:
        statistics: a folder written by `reidentify spacetime fit` or by a training with space-time.
        out: folder for intervals.png and network.png; default the same folder.
        own_clocks: draw travel times after the estimated clocks, for cameras that share none.
    """
    from reidentify.ranking.clocks import estimate_offsets
    from reidentify.ranking.spacetime import SpaceTime
    from reidentify.training.spacetime import draw, report

    folder, learned = out or statistics, SpaceTime.load(statistics)
    clocks = estimate_offsets(learned)
    draw(learned, folder, clocks if own_clocks else None)
    print(report(clocks))
    for name in ("intervals.png", "network.png"):
        print(Path(folder) / name)
