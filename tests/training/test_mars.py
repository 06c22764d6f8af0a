"""MARS from its files to its scores, under both protocols, and the networks of every recipe for tracklets."""

import json
from pathlib import Path

import mars_layout
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import reidentify
from reidentify import Embeddings, Sightings, cli
from reidentify.data.benchmarks import mars_attributes
from reidentify.embed import Model, read_sides
from reidentify.models.catalogue import build
from reidentify.training.recipe import Recipe, names, read_recipe, recipe_of
from reidentify.training.run import train

TINY = [
    "model.init=random", "input.height=32", "input.width=16", "optimiser.epochs=1", "optimiser.milestones=[1]",
    "run.accelerator=cpu", "run.precision=32-true",
]  # fmt: skip
SCHEMA = mars_attributes.SIGHTING + mars_attributes.IDENTITY
RECIPES = [
    n
    for n in names()
    if (n.endswith("-cpu") or n.startswith(("aitl", "mars-", "video-"))) and isinstance(read_recipe(n), Recipe)
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mars_layout.make(tmp_path_factory.mktemp("mars")).parent


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchreid's recipe on MARS, made tiny, from the command line."""
    run = tmp_path_factory.mktemp("trained") / "run"
    command("train", "mars-torchreid-cpu", "--data", "mars", "--root", root, "--out", run, "--set", *TINY)
    return run


def command(*arguments: object) -> None:
    assert cli.main([str(a) for a in arguments]) == 0


def ranked(vectors: NDArray[np.float32], rows: Sightings, query: int, gallery: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gallery rows, nearest first. No match is as near as a wrong answer, so rounding cannot change a score."""
    near = vectors[gallery] @ vectors[query]
    right = rows.pids[gallery] == rows.pids[query]
    assert np.abs(near[right][:, None] - near[~right]).min(initial=1) > 2e-6
    return gallery[np.argsort(-near, kind="stable")]


def official(vectors: NDArray[np.float32], rows: Sightings, queries: int) -> tuple[float, float, int]:
    """mAP, rank-1 and queries as compute_AP.m of MARS-evaluation counts them, statement by statement."""
    precisions, firsts = [], []
    for q in range(queries):
        own = rows.pids == rows.pids[q]
        good, junk = own & (rows.camids != rows.camids[q]), (rows.pids == -1) | (own & (rows.camids == rows.camids[q]))
        ap, old_recall, old_precision, intersect, j, first = 0.0, 0.0, 1.0, 0, 0, False
        for row in ranked(vectors, rows, q, np.arange(len(rows))):
            if junk[row]:
                continue
            intersect += int(good[row])
            first |= bool(j == 0 and good[row])
            recall, precision = intersect / good.sum(), intersect / (j + 1)
            ap += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision, j = recall, precision, j + 1
            if intersect == good.sum():
                break
        precisions.append(ap)
        firsts.append(first)
    return float(np.mean(precisions)), float(np.mean(firsts)), queries


def torchreid(vectors: NDArray[np.float32], rows: Sightings, queries: int) -> tuple[float, float, int]:
    """mAP, rank-1 and queries with a match as torchreid's eval_market1501 counts them; its reader drops junk."""
    precisions, firsts = [], []
    gallery = queries + np.flatnonzero(rows.pids[queries:] != -1)
    for q in range(queries):
        order = ranked(vectors, rows, q, gallery)
        keep = ~((rows.pids[order] == rows.pids[q]) & (rows.camids[order] == rows.camids[q]))
        matches = (rows.pids[order] == rows.pids[q])[keep]
        if not matches.any():
            continue
        precision = matches.cumsum() / np.arange(1, len(matches) + 1)
        precisions.append((precision * matches).sum() / matches.sum())
        firsts.append(matches[0])
    return float(np.mean(precisions)), float(np.mean(firsts)), len(precisions)


# 10 gallery tracklets of identities, 2 of junk and 3 distractors; the official rule adds the 12 queries. The two
# queries of the last identity match only each other.
PROTOCOLS = [
    ("mars-official", official, "mAP_trapezoid", 27, 12),
    ("mars-torchreid", torchreid, "mAP", 15, 10),
]


@pytest.mark.parametrize(("protocol", "rule", "published", "gallery", "matched"), PROTOCOLS)
def test_a_trained_network_scores_as_the_published_code_of_each_protocol(
    root: Path, trained: Path, tmp_path: Path, protocol: str, rule, published: str, gallery: int, matched: int
) -> None:
    chosen = [] if protocol == "mars-official" else ["--protocol", protocol]
    options = ["--root", root, "--out", tmp_path, "--report", "false", *chosen]
    command("evaluate", trained, "--data", "mars", *options)
    scores = json.loads((tmp_path / "metrics.json").read_text())
    counts = {k: scores[k] for k in ("protocol", "queries", "valid_queries", "gallery")}
    assert counts == {"protocol": protocol, "queries": 12, "valid_queries": matched, "gallery": gallery}
    # A network of images sees a tracklet as so many pictures, all of them here: none is longer than 15 frames.
    rows, model = reidentify.benchmark("mars", root=root).test, reidentify.load(trained, "cpu")
    assert (model.card.clip, model.card.frames) == (1, 15)
    assert "32 tracklets of 8 identities" in model.card.data
    pictures = model.embed(rows.files.tolist())
    means = np.stack([pictures[a:b].mean(0) for a, b in zip(rows.offsets, rows.offsets[1:])])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = rule(means, rows, 12)
    assert (scores[published], scores["rank1"]) == pytest.approx(expected[:2], abs=1e-6)
    assert expected[2] == matched
    if protocol == "mars-official":  # what the training itself found
        assert scores["mAP"] == pytest.approx(json.loads((trained / "metrics.json").read_text())["mAP"], abs=1e-6)


def test_the_galleries_of_both_protocols_are_embedded_as_they_are_ranked(
    root: Path, trained: Path, tmp_path: Path
) -> None:
    for split in ("query", "gallery"):
        output = tmp_path / f"{split}.parquet"
        command("embed", trained, "--data", "mars", "--root", root, "--split", split, "-o", output)
    query, gallery = (Embeddings.load(tmp_path / f"{split}.parquet") for split in ("query", "gallery"))
    assert (len(query), len(gallery)) == (12, 27)
    np.testing.assert_allclose(gallery.vectors[15:], query.vectors, atol=1e-6)
    assert gallery.sightings.lengths[15:].tolist() == query.sightings.lengths.tolist()


def by_hand(model: Model, rows: Sightings, length: int) -> NDArray[np.float32]:
    """Tracklets as the mean over clips of consecutive frames, each counted as often as it has frames."""
    mean, std = (np.array(v, np.float32) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    vectors = []
    for start, end in zip(rows.offsets, rows.offsets[1:]):
        read = [Image.open(f).resize((16, 32), Image.Resampling.BILINEAR) for f in rows.files[start:end]]
        frames = [(np.asarray(image, np.float32) / 255 - mean) / std for image in read]
        total = np.zeros(model.card.embedding_dim)
        for k in range(0, len(frames), length):
            some = frames[k : k + length]
            clip = torch.from_numpy(np.stack(some + [np.zeros_like(some[0])] * (length - len(some))))
            valid = torch.arange(length)[None] < len(some)
            with torch.inference_mode():
                found = model.network(clip.permute(0, 3, 1, 2)[None], None, valid).embedding[0].numpy()
            total += len(some) * found / np.linalg.norm(found)
        vectors.append(total / np.linalg.norm(total))
    return np.array(vectors, np.float32)


@pytest.mark.parametrize("temporal", ["mean", "attention"])
def test_a_network_of_clips_trains_on_mars_and_scores_by_the_official_rule(
    root: Path, tmp_path: Path, temporal: str
) -> None:
    run, benchmark = tmp_path / "run", reidentify.benchmark("mars", root=root)
    settings = {
        "model": {
            "architecture": "video", "backbone": "osnet", "width": 0.25, "init": "random", "temporal": temporal,
            "embedding_dim": 32,
        },
        "input": {"height": 32, "width": 16, "holdout": 0.25},
        "clip": {"length": 4},
        "sampler": {"identities": 3, "instances": 2},
        "optimiser": {"epochs": 1, "warmup": 0, "lr": 1e-3},
        "run": {"accelerator": "cpu", "evaluate_every": 1, "flip": False},
    }  # fmt: skip
    train(recipe_of(settings), benchmark, run, False)
    model, rows = reidentify.load(run, "cpu"), benchmark.test
    assert (model.card.clip, model.card.frames, model.card.dataset) == (4, None, "mars")
    # A quarter of the 8 identities is held out: 2 of them with a query for each of 2 cameras, ranked by the same rule.
    held, test = model.card.scores
    assert (held["data"], held["protocol"], held["queries"], held["gallery"]) == ("mars-holdout", "mars-official", 4, 8)
    vectors = by_hand(model, rows, 4)
    query, gallery, _ = read_sides(model, benchmark, cache=False, progress=False)
    np.testing.assert_allclose(query.vectors, vectors[:12], atol=1e-5)
    np.testing.assert_allclose(gallery.vectors, np.concatenate([vectors[12:], vectors[:12]]), atol=1e-5)
    expected = official(np.concatenate([query.vectors, gallery.vectors[:15]]), rows, 12)
    assert (test["mAP_trapezoid"], test["rank1"], test["valid_queries"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", RECIPES)
@torch.no_grad()
def test_the_network_of_every_recipe_takes_what_the_recipe_states(name: str) -> None:
    recipe = read_recipe(name, ["model.init=random"])
    network = build(recipe.model, 3, 2, pretrained=False, schema=SCHEMA)
    size, length = (recipe.input.height, recipe.input.width), recipe.clip.length
    clips = torch.rand(2, length, 3, *size, generator=torch.Generator().manual_seed(0))
    video = recipe.model.architecture == "video"
    seen = clips if video else clips[0]  # a network of images sees the frames of a clip one by one
    output = network.train()(seen)
    assert output.embedding.shape == (len(seen), network.embedding_dim)
    classified = {"pcb": [recipe.model.parts], "spindle": [8], "aacn": [7]}  # the whole and the parts
    assert output.logits.shape == (len(seen), *classified.get(recipe.model.architecture, []), 3)
    told = {a.name: (len(seen), len(a.values)) for a in SCHEMA if recipe.model.attributes}
    assert {attribute: tuple(logits.shape) for attribute, logits in output.attributes.items()} == told
    found = [output.embedding, output.logits, *output.attributes.values()]
    assert all(torch.isfinite(values).all() for values in found)
    if video:  # an image is a clip of one frame
        image = network.eval()(clips[0, :1]).embedding
        assert image.shape == (1, network.embedding_dim)
        torch.testing.assert_close(network(clips[:1, :1]).embedding, image)


def test_the_recipes_for_tracklets_are_all_there() -> None:
    read = {n: read_recipe(n) for n in names()}
    video = {n for n, r in read.items() if isinstance(r, Recipe) and r.model.architecture == "video"}
    both = {f"{n}{size}" for n in ("aitl", "video-3d", "video-attention", "video-pool", "video-rnn")
            for size in ("", "-cpu")}  # fmt: skip
    assert video == both
    assert video | {"mars-torchreid", "mars-torchreid-cpu"} <= set(RECIPES)
