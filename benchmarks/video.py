"""Accuracy against cost: mAP of trained networks over the operations and the milliseconds a tracklet takes.

    python benchmarks/video.py RUN... [--frames 8] [--repeats 20] [--out cost.png]

A run is a folder with `weights.safetensors`, its card and `metrics.json`; networks of images and of clips may be mixed.
A tracklet is cut into dense clips, as in an evaluation: the network takes them as one batch, and where its card says
so also their mirror images. Reading and resizing pictures is not counted. A milliseconds value is the median of all
repeats, in one process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import reidentify
from reidentify.data.clips import dense
from reidentify.embed import Model
from reidentify.errors import ReidentifyError
from reidentify.files import write
from reidentify.report.charts import LIGHT
from reidentify.report.cost import Cost, chart, flops


def tracklet(model: Model, frames: int) -> tuple[torch.Tensor, ...]:
    """What the network is called with for a tracklet of so many frames: random pixels, and None or real frames."""
    card = model.card
    size = card.preprocessing.height, card.preprocessing.width
    seen = min(frames, card.frames or frames)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (seen, 3, *size), np.uint8))
    ready = card.preprocessing.apply(pixels)
    if card.clip == 1:
        return (ready.to(model.device),)
    _, index, real = dense(np.array([seen]), card.clip)
    return ready[torch.from_numpy(index)].to(model.device), None, torch.from_numpy(real).to(model.device)  # type: ignore[return-value]


@torch.inference_mode()
def milliseconds(model: Model, inputs: tuple[torch.Tensor, ...], repeats: int) -> float:
    """The median time of one call, after one that is not counted."""
    assert model.network is not None
    took = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model.network(*inputs)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took[1:])


def cost(run: Path, frames: int, repeats: int, device: str | None) -> Cost:
    """The cost of a tracklet for the network of a run, and its mAP."""
    try:
        metrics = json.loads((run / "metrics.json").read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{run}: needs the metrics.json of an evaluation ({error})") from None
    try:
        model = reidentify.load(run, device)
    except ReidentifyError as error:
        raise SystemExit(str(error)) from None
    assert model.network is not None
    inputs, views = tracklet(model, frames), 2 if model.card.flip else 1
    operations = views * flops(model.network, *inputs) / 1e9
    return Cost(run.resolve().name, metrics["mAP"], operations, views * milliseconds(model, inputs, repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--frames", type=int, default=8, help="of a tracklet (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="measured calls (default: %(default)s)")
    parser.add_argument("--device", help="e.g. cpu or cuda; default the GPU if there is one")
    parser.add_argument("--out", type=Path, default=Path("cost.png"), help="the picture (default: %(default)s)")
    given = parser.parse_args()
    if given.frames < 1 or given.repeats < 1:
        parser.error("--frames and --repeats must be at least 1")
    costs = [cost(run, given.frames, given.repeats, given.device) for run in given.runs]
    table = Table(
        "run", "mAP, %", "GFLOPs", "multiply-adds, 10^9", "milliseconds", title=f"Tracklets of {given.frames} frames"
    )
    for one in sorted(costs, key=lambda c: c.gflops):
        operations = (f"{number:.3g}" for number in (one.gflops, one.gflops / 2))
        table.add_row(one.name, f"{100 * one.mAP:.1f}", *operations, f"{one.milliseconds:.1f}")
    Console().print(table)
    write(given.out, chart(costs, given.frames, LIGHT))
    print(given.out)


if __name__ == "__main__":
    main()
