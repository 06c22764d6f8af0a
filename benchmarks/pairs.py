"""Milliseconds a pair of images takes in each layer and network that compares two.

    python benchmarks/pairs.py [--batch 1 32] [--repeats 30] [--clock cpu] [--no-loop] [--json pairs.json]

Everything runs on one core, in float32, at the published size: maps of 25 x 37 x 12, images of 160 x 60. Beside the
layers stand a plain loop over all pairs of patches (Python and NumPy, one pair) and the plain batched form: for the
correlation one product of all patches with all, of which the band is then taken. Before it is timed, every form is
checked against the others. A figure is the best of all repeats.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from reidentify.batch import Batch
from reidentify.files import write
from reidentify.models.pairs import NeighbourhoodDifference, NormalisedCorrelation, PairSettings, build_pairs
from reidentify.models.weights import Preprocessing

CHANNELS, HEIGHT, WIDTH = 25, 37, 12
IMAGE = 160, 60
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}
NETWORKS = {
    **{kind: {"kind": kind} for kind in ("idla", "xcorr", "fused", "euclidean", "deep")},
    "siamese (OSNet x0.25)": {"kind": "siamese", "embedding": {"architecture": "osnet", "width": 0.25}},
    "fused, pose and regions": {"kind": "fused", "pose": True, "pose_regions": True},
    "fused, trunk OSNet x0.25": {"kind": "fused", "trunk": "osnet"},
}
Row = dict[str, Any]


def patches(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """C x h x w to the 5 x 5 patches around every position, C x h x w x 25."""
    padded = np.pad(maps, ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    return windows.reshape(*maps.shape, 25)


def correlation_loop(a: Tensor, b: Tensor) -> NDArray[np.float32]:
    """The correlation of one pair, one pair of patches after another; each is standardised once."""
    found = np.zeros((CHANNELS, 5, WIDTH, HEIGHT, WIDTH), np.float32)
    sides = []
    for maps in (a, b):
        every = patches(maps[0].numpy())
        every = every - every.mean(3, keepdims=True)
        sides.append(every / (np.sqrt((every**2).sum(3, keepdims=True) / 24) + 0.01))
    own, other = sides
    for c in range(CHANNELS):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                for r in range(max(0, 2 - y), min(5, HEIGHT + 2 - y)):
                    for column in range(WIDTH):
                        found[c, r, column, y, x] = np.dot(own[c, y, x], other[c, y + r - 2, column]) / 24
    return found.reshape(1, -1, HEIGHT, WIDTH)


def difference_loop(a: Tensor, b: Tensor) -> NDArray[np.float32]:
    """The neighbourhood differences of one pair, one position after another."""
    found = np.zeros((CHANNELS, 25, HEIGHT, WIDTH), np.float32)
    own, other = a[0].numpy(), patches(b[0].numpy())
    for c in range(CHANNELS):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                found[c, :, y, x] = np.maximum(0, own[c, y, x] - other[c, y, x])
    return found.reshape(1, -1, HEIGHT, WIDTH)


def correlation_plain(a: Tensor, b: Tensor) -> Tensor:
    """All patches with all in one batched product, then the band."""
    count = len(a)

    def standardised(maps: Tensor) -> Tensor:
        unfolded = F.unfold(maps, 5, padding=2).view(count * CHANNELS, 25, -1)
        centred = unfolded - unfolded.mean(1, keepdim=True)
        return centred / (unfolded.std(1, keepdim=True) + 0.01)

    rows_of_b = F.pad(standardised(b), (2 * WIDTH, 2 * WIDTH))
    every = (rows_of_b.mT @ standardised(a) / 24).view(count, CHANNELS, HEIGHT + 4, WIDTH, HEIGHT, WIDTH)
    band = [every.diagonal(-r, 2, 4).permute(0, 1, 2, 4, 3) for r in range(5)]  # row y + r of padded b, row y of a
    return torch.stack(band, 2).flatten(1, 3)


def difference_plain(a: Tensor, b: Tensor) -> Tensor:
    """By unfold, in separate steps."""
    neighbours = F.unfold(b, 5, padding=2).view(len(a), CHANNELS, 25, HEIGHT, WIDTH)
    return torch.relu(a[:, :, None] - neighbours).flatten(1, 2)


LAYERS: dict[str, tuple[Callable[[Tensor, Tensor], Any], ...]] = {
    "normalised correlation": (NormalisedCorrelation(), correlation_plain, correlation_loop),
    "neighbourhood difference": (NeighbourhoodDifference(), difference_plain, difference_loop),
}


def milliseconds(call: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    """The best of some repeats."""
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        call()
        best = min(best, clock() - start)
    return 1000 * best


def maps(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    return [torch.randn(count, CHANNELS, HEIGHT, WIDTH, generator=generator).relu() for _ in range(2)]


def images(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(count)
    sides = []
    for _ in range(2):
        pixels = torch.randint(0, 256, (count, 1, 3, *IMAGE), dtype=torch.uint8, generator=generator)
        places = torch.rand(count, 1, 14, 2, generator=generator) * torch.tensor([IMAGE[1] - 1.0, IMAGE[0] - 1.0])
        joints = torch.cat([places, torch.ones(count, 1, 14, 1)], 3)
        sides.append(Batch(pixels, torch.zeros(count, dtype=torch.long), keypoints=joints))
    return sides


def layer_rows(given: argparse.Namespace, clock: Callable[[], float]) -> Iterator[Row]:
    """Forward in every form, and forward and backward of ours."""
    for name, (ours, plain, loop) in LAYERS.items():
        a, b = maps(2)
        torch.testing.assert_close(ours(a, b), plain(a, b), rtol=1e-3, atol=1e-4)
        if given.loop:
            one = a[:1], b[:1]
            torch.testing.assert_close(ours(*one).contiguous(), torch.from_numpy(loop(*one)), rtol=1e-3, atol=1e-4)
            yield {"what": f"{name}: plain loop", "1": milliseconds(lambda: loop(*one), 1, clock)}  # noqa: B023
        for form, layer in {"unfold and product": plain, "reidentify": ours}.items():
            row: Row = {"what": f"{name}: {form}"}
            for count in given.batch:
                a, b = maps(count)
                took = milliseconds(lambda: layer(a, b), given.repeats, clock)  # noqa: B023
                row[str(count)] = took / count
            yield row
        row = {"what": f"{name}: reidentify, forward and backward"}
        for count in given.batch:
            a, b = (side.requires_grad_() for side in maps(count))
            grad = torch.ones_like(ours(a, b))
            took = milliseconds(lambda: torch.autograd.grad(ours(a, b), (a, b), grad), given.repeats, clock)  # noqa: B023
            row[str(count)] = took / count
        yield row


@torch.inference_mode()
def network_rows(given: argparse.Namespace, clock: Callable[[], float]) -> Iterator[Row]:
    """What an image takes once, and what a pair takes then."""
    for name, settings in NETWORKS.items():
        torch.manual_seed(0)
        network = build_pairs(PairSettings(**settings), Preprocessing(*IMAGE)).eval()  # type: ignore[arg-type]
        encode: Row = {"what": f"{name}: encode an image"}
        compare: Row = {"what": f"{name}: compare a pair"}
        for count in given.batch:
            a, b = images(count)
            one, other = network.encode(a), network.encode(b)
            network.compare(one, other)
            encode[str(count)] = milliseconds(lambda: network.encode(a), given.repeats, clock) / count  # noqa: B023
            took = milliseconds(lambda: network.compare(one, other), given.repeats, clock)  # noqa: B023
            compare[str(count)] = took / count
        yield encode
        yield compare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32], help="pairs at once (default: 1 32)")
    parser.add_argument("--repeats", type=int, default=30, help="of each call (default: %(default)s)")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: time that the core was ours, where others use it as well"
    )
    parser.add_argument("--no-loop", dest="loop", action="store_false", help="leave out the plain loops (seconds each)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    if given.repeats < 1 or min(given.batch) < 1:
        parser.error("--repeats and --batch must be at least 1")
    torch.set_num_threads(1)
    rows: list[Row] = []
    table = Table("", *(f"{count} at once" for count in given.batch), title="Milliseconds a pair, one core")
    for number, part in enumerate((layer_rows, network_rows)):
        for row in part(given, CLOCKS[given.clock]):
            rows.append(row)
            table.add_row(row["what"], *(f"{row[k]:.2f}" if (k := str(n)) in row else "" for n in given.batch))
        if number == 0:
            table.add_section()
    Console().print(table)
    if given.json:
        write(given.json, json.dumps({"clock": given.clock, "milliseconds": rows}, indent=2) + "\n")
        print(given.json)


if __name__ == "__main__":
    main()
