"""Pictures of pairs: what is shown where, and the patches that were matched, against a plain loop."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_pairs import Colours, model_of
from torch import Tensor, nn

from reidentify import InputError, Sightings
from reidentify.batch import Batch
from reidentify.models.pairs import NormalisedCorrelation, PairSettings, build_pairs
from reidentify.models.pairs.trunk import Frame
from reidentify.models.weights import Card, Preprocessing
from reidentify.pairs import PairModel
from reidentify.ranking.pairwise import PairScores
from reidentify.report.lists import GREEN, RED
from reidentify.report.pairs import match_sheet, matches, sheet

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]


def test_the_sheet_shows_the_most_confident_pairs_of_each_cell(tmp_path: Path) -> None:
    files = []
    for i, colour in enumerate(COLOURS):
        Image.new("RGB", (64, 160), colour).save(tmp_path / f"{i}.png")
        files.append(str(tmp_path / f"{i}.png"))
    pairs = np.array([[0, 1], [1, 0], [2, 3], [3, 2]])
    pids = np.array([[1, 1], [1, 1], [1, 2], [1, 2]])
    scored = PairScores(np.array([0.7, 0.9, 0.6, 0.1]), pids, 0.5, "", "")
    drawn = np.asarray(sheet(scored, Sightings([1, 1, 2, 2], files=files), pairs, 2))
    # A line is 160 + 3 * 20 + 12 high, its pictures 24 below its top; a pair takes 2 * 64 + 3 * 12.
    shown = {
        (line, place): [tuple(drawn[12 + 232 * line + 24 + 80, 12 + 164 * place + 32 + 68 * k]) for k in (0, 1)]
        for line in range(4)
        for place in range(2)
    }
    assert shown[0, 0] == [COLOURS[1], COLOURS[0]]  # 0.9
    assert shown[0, 1] == [COLOURS[0], COLOURS[1]]  # 0.7
    assert shown[1, 0] == [(255, 255, 255)] * 2  # no person is taken for two
    assert shown[2, 0] == [COLOURS[3], COLOURS[2]]  # 0.1
    assert shown[3, 0] == [COLOURS[2], COLOURS[3]]  # 0.6
    frames = [tuple(drawn[12 + 232 * line + 24 - 3, 40]) for line in (0, 2, 3)]
    assert ["#{:02x}{:02x}{:02x}".format(*frame) for frame in frames] == [GREEN, GREEN, RED]


class Fine(Colours):
    """With maps of 3 x 8 x 4, whose cells lie evenly over the image."""

    trunk = SimpleNamespace(frame=lambda image, cells: Frame(0, 0, *image, cells))

    def __init__(self) -> None:
        super().__init__()
        self.correlation = NormalisedCorrelation()

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        images = batch.pixels[:, 0].float() / 255
        return {**super().encode(batch), "maps": nn.functional.avg_pool2d(images, 4)}


def fine() -> PairModel:
    model = model_of()
    return PairModel(Fine(), model.card, torch.device("cpu"))  # type: ignore[arg-type]


def noise(path: Path, cells: np.ndarray) -> np.ndarray:
    """A picture of plain cells of 4 x 4 pixels; returns its maps, 3 x 8 x 4."""
    Image.fromarray(cells.repeat(4, 0).repeat(4, 1)).save(path)
    return cells.transpose(2, 0, 1) / 255


def test_matches_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cells = rng.integers(0, 256, (8, 4, 3), dtype=np.uint8)
    files = tmp_path / "a.png", tmp_path / "b.png"
    moved = np.roll(cells, 1, axis=0) // 2 + rng.integers(0, 128, cells.shape, dtype=np.uint8)
    a, b = noise(files[0], cells), noise(files[1], moved)

    def patches(maps: np.ndarray) -> np.ndarray:
        """Standardised, 8 x 4 x 3 x 25."""
        padded = np.pad(maps, ((0, 0), (2, 2), (2, 2)))
        found = np.array([[padded[:, y : y + 5, x : x + 5].reshape(3, 25) for x in range(4)] for y in range(8)])
        found -= found.mean(-1, keepdims=True)
        return found / (np.sqrt((found**2).sum(-1, keepdims=True) / 24) + 0.01) / np.sqrt(24)

    first, second = patches(a), patches(b)
    best = {}
    for y in range(8):
        for x in range(4):
            near = {
                (v, u): np.maximum((first[y, x] * second[v, u]).sum(-1), 0).mean()
                for v in range(max(y - 2, 0), min(y + 3, 8))
                for u in range(4)
            }
            best[y, x] = max(near.items(), key=lambda item: item[1])
    wanted: list[tuple] = []
    for (y, x), (other, strength) in sorted(best.items(), key=lambda item: -item[1][1]):
        overlap = [max(5 - abs(y - v), 0) * max(5 - abs(x - u), 0) for (v, u), _, _ in wanted]
        if all(2 * cells <= 25 for cells in overlap):
            wanted.append(((y, x), other, strength))
    found = matches(fine(), files, count=100)
    assert len(found) == len(wanted) > 1
    for one, ((y, x), (v, u), strength) in zip(found, wanted):
        assert one.first == (4 * x + 2, 4 * y + 2)
        assert one.second == (4 * u + 2, 4 * v + 2)
        assert one.strength == pytest.approx(strength, abs=1e-5)
    # In the middle, what has moved down by one cell is found there.
    assert best[4, 2][0] == (5, 2)
    assert matches(fine(), files, count=1) == found[:1]
    drawn = np.asarray(match_sheet(fine(), files, found[:1], "title"))
    x, y = found[0].first
    assert tuple(drawn[int(52 + 3 * y) - 8, int(110 + 3 * x)]) == (240, 249, 33)  # the strongest end of plasma


def test_matches_of_the_published_trunk_lie_where_its_cells_see(tmp_path: Path) -> None:
    """Of 160 x 60 it makes 37 x 12, and cell i sees pixels 4 i to 4 i + 15, so its middle is at 4 i + 8."""
    pixels = np.random.default_rng(0).integers(0, 256, (160, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    shown = Preprocessing(160, 60)
    torch.manual_seed(0)
    network = build_pairs(PairSettings("xcorr"), shown)
    model = PairModel(network, Card("x", {}, shown, 500, "", "", kind="pairs"), torch.device("cpu"))
    found = matches(model, [tmp_path / "a.png"] * 2, count=500)
    assert len(found) > 10
    for one in found:
        x, y = one.first
        assert (x % 4, y % 4) == (0, 0)
        assert 8 <= x <= 52
        assert 8 <= y <= 152
    inside = [one for one in found if 16 <= one.first[0] <= 44 and 16 <= one.first[1] <= 144]
    assert inside
    assert all(one.first == one.second for one in inside)  # the same picture


@pytest.mark.parametrize(
    ("kind", "correlates"),
    [("xcorr", True), ("fused", True), ("idla", False), ("euclidean", False), ("deep", False), ("siamese", False)],
)
def test_only_matches_that_the_network_computes_are_drawn(tmp_path: Path, kind: str, correlates: bool) -> None:
    shown = Preprocessing(64, 48)
    Image.effect_noise((48, 64), 80).convert("RGB").save(tmp_path / "a.png")
    settings = PairSettings(kind, channels=(4, 5), embedding={"architecture": "osnet", "backbone": "osnet_x0_25"})
    card = Card("mine", {}, shown, 500, "", "", kind="pairs")
    model = PairModel(build_pairs(settings, shown), card, torch.device("cpu"))
    if correlates:
        assert matches(model, [tmp_path / "a.png"] * 2)
        return
    with pytest.raises(InputError, match="mine correlates no patches, so it matches none: give weights of kind xcorr"):
        matches(model, [tmp_path / "a.png"] * 2)
