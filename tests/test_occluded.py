"""benchmarks/occluded.py on drawn people: which joints and pictures its rows rest on."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import reidentify
from reidentify import Benchmark, Embeddings, Sightings
from reidentify.data.cover import GREY, cover
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.weights import Card, Preprocessing, save_weights

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "occluded.py"
BASE = {"backbone": "osnet", "width": 0.25, "init": "random", "embedding_dim": 8}


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("occluded", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(folder: Path, architecture: str) -> Path:
    torch.manual_seed(0)
    settings = {**BASE, "architecture": architecture}
    card = Card(architecture, settings, Preprocessing(64, 32), 8, "nothing", "none")
    path = folder / f"{architecture}.safetensors"
    save_weights(build(ModelSettings(**settings)).state_dict(), card, path)
    return path


def guessed(sightings: Sightings, *_: object) -> Sightings:
    """Stands for the pose network: where joints are unknown it places them by the pictures' own colours."""
    if sightings.keypoints is not None:
        return sightings
    joints = np.ones((len(sightings), 14, 3), np.float32)
    for frame, file in enumerate(sightings.files):
        rng = np.random.default_rng(int(np.asarray(Image.open(file), np.int64).sum()))
        joints[frame, :, :2] = rng.uniform(2, (29, 61), (14, 2))
    return sightings.replace(keypoints=joints)


def test_joints_are_found_in_what_is_covered(
    script: ModuleType, people: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    joints = np.ones((len(people.sightings), 14, 3))
    joints[..., :2] = rng.uniform(2, (29, 61), (len(joints), 14, 2))
    posed = dataclasses.replace(people, sightings=people.sightings.replace(keypoints=joints))
    aacn, plain = network(tmp_path, "aacn"), network(tmp_path, "baseline")
    monkeypatch.setattr("reidentify.pose.with_joints", guessed)
    monkeypatch.setattr(script, "benchmark_of", lambda *_: posed)
    out = tmp_path / "scores.json"
    given = ["occluded.py", str(plain), str(aacn), "--data", "people", "--cover", "lower half", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", given)
    script.main()
    stated = json.loads(out.read_text())

    rows = [(Path(s["weights"]).stem, s["joints"], s["compares"], s["covered"]) for s in stated]
    ways = [("baseline", None, "one vector")]
    ways += [("aacn", joints, compares) for joints in ("found", "known") for compares in ("one vector", "common parts")]
    assert rows == [(*way, covered) for way in ways for covered in ("nothing", "lower half")]

    (tmp_path / "covered").mkdir()
    covered = cover(posed.query, "lower half", tmp_path / "covered")
    assert (np.asarray(Image.open(covered.files[0]))[32:] == GREY).all()
    assert (covered.keypoints[..., 2] == 0).any()
    model = reidentify.load(aacn)
    for one in stated[2:]:
        query = posed.query if one["covered"] == "nothing" else covered
        sides = [query, posed.gallery]
        if one["joints"] == "found":
            sides = [side.replace(keypoints=None) for side in sides]
        parts = one["compares"] == "common parts"
        a, b = (model.embed_sightings(side, parts=parts, cache=False, progress=False) for side in sides)
        expected = reidentify.evaluate(Embeddings(a.vectors, posed.query, a.visibility), b, posed.protocol)
        assert one["mAP"] == pytest.approx(expected.mAP, abs=1e-6)
    maps = {(s["joints"], s["compares"]): s["mAP"] for s in stated[2:] if s["covered"] == "lower half"}
    assert len(set(maps.values())) == 4  # so that rows cannot stand for one another


def test_without_joints_in_the_data_they_are_found_alone(script: ModuleType, people: Benchmark, tmp_path: Path) -> None:
    model = reidentify.load(network(tmp_path, "spindle"), device="cpu")
    assert script.ways(model, people) == [("one vector", "found"), ("common parts", "found")]
