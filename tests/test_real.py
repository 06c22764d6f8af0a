"""Whole jobs on Market-1501. Run with `make test-real`; skipped where the data is absent."""

import json
from pathlib import Path

import pytest
import torch

import reidentify
from reidentify import InputError, zoo
from reidentify.cli import main
from reidentify.data.root import data_root
from reidentify.embed import Model
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.weights import Card, Preprocessing, card_path

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def market() -> reidentify.Benchmark:
    try:
        return reidentify.benchmark("market1501")
    except InputError as missing:
        pytest.skip(str(missing))


def score(model: Model, benchmark: reidentify.Benchmark) -> dict[str, float]:
    sides = [model.embed_sightings(rows, progress=False) for rows in (benchmark.query, benchmark.gallery)]
    return reidentify.evaluate(*sides, benchmark.protocol).summary()


def test_a_foreign_network_scores_as_known(market, tmp_path: Path) -> None:
    """torchreid's OSNet x0.25 trained on MSMT17, full protocol, plain mAP."""
    weights = data_root() / "weights" / "osnet_x0_25_msmt17.onnx"
    if not weights.exists():
        pytest.skip(f"{weights} is absent")
    assert main(["evaluate", str(weights), "--data", "market1501", "--out", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["rank1"] == pytest.approx(0.497, abs=0.003)
    assert metrics["mAP"] == pytest.approx(0.247, abs=0.003)


def test_the_shipped_network_scores_as_its_card_says(market) -> None:
    card = Card.read(card_path(zoo.path("market-small")))
    stated = next(s for s in card.scores if s["data"] == "market1501")
    found = score(reidentify.load("market-small"), market)
    for name in ("mAP", "mAP_trapezoid", "mINP", "rank1"):
        assert found[name] == pytest.approx(stated[name], abs=2e-3)


def test_the_street_teaches_something_about_real_people(market, tmp_path: Path) -> None:
    """Trained on the street alone from ImageNet weights, a network beats the ImageNet features on Market-1501."""
    settings = ModelSettings(backbone="tf_efficientnet_lite0", neck="none")
    network = build(settings, pretrained=True).eval()
    card = Card("imagenet", {}, Preprocessing(128, 64), network.embedding_dim, "", "", flip=True)
    device = torch.device("cpu")
    imagenet = score(Model(lambda images, _: network(images).embedding, card, device), market)
    changes = ["model.architecture=baseline", "model.backbone=tf_efficientnet_lite0", "model.init=imagenet"]
    out = str(tmp_path / "run")
    assert main(["train", "demo", "--data", "street", "--out", out, "--set", *changes, "optimiser.lr=3.5e-4"]) == 0
    street = score(reidentify.load(out), market)
    print(f"Market-1501 mAP: ImageNet features {imagenet['mAP']:.4f}, trained on the street {street['mAP']:.4f}")
    print(f"rank-1: ImageNet features {imagenet['rank1']:.4f}, trained on the street {street['rank1']:.4f}")
    assert street["mAP"] > 1.5 * imagenet["mAP"]
