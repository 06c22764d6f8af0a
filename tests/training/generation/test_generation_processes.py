"""Pose-guided generation in two processes at once."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from generation_data import FD_GAN, small, standing
from safetensors.torch import load_file

from reidentify import Benchmark


def test_two_processes_train_one_set_of_networks(people: Benchmark, tmp_path: Path) -> None:
    """Each takes its half of every batch, though encoder, generator, verifier and discriminators learn by turns."""
    sightings = people.sightings.replace(keypoints=standing(len(people.sightings)))
    sightings.save(tmp_path / "people" / "sightings.parquet")
    sampler = {"kind": "pairs", "anchors": 8, "negatives": 1}
    recipe = small(FD_GAN, sampler=sampler, input={"holdout": 0}, run={"devices": 2})
    plain = dataclasses.asdict(recipe)
    plain["augment"]["erase_area"] = list(plain["augment"]["erase_area"])  # YAML knows no tuples
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(plain))
    out = tmp_path / "both"
    command = [sys.executable, "-m", "reidentify", "train", str(tmp_path / "recipe.yaml")]
    command += ["--data", str(tmp_path / "people"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    state = load_file(out / "generator.safetensors")
    assert all(torch.isfinite(value.float()).all() for value in state.values())
    assert (out / "history.csv").read_text().count("\n") == 3
    assert (out / "pictures.png").exists()
