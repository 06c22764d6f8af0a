"""Training as a process: killed at any moment, and as several processes at once."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reidentify import Benchmark

KILLS = int(os.environ.get("REIDENTIFY_KILLS", 2))
CHANGES = [
    "model.init=random",
    "model.embedding_dim=64",
    "input.height=32",
    "input.width=16",
    "input.holdout=0.25",
    "sampler.identities=4",
    "optimiser.epochs=30",
    "optimiser.ema=0.9",
    "run.precision=32-true",
]


@pytest.fixture
def data(people: Benchmark, tmp_path: Path) -> Path:
    """The drawn people as a data set on disk."""
    people.sightings.save(tmp_path / "people" / "sightings.parquet")
    return tmp_path / "people"


def command(data: Path, out: Path, *more: str) -> list[str]:
    train = [sys.executable, "-m", "reidentify", "train", "demo", "--data", str(data), "--out", str(out)]
    return [*train, "--set", *CHANGES, *more]


def quietly(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_killed_at_random_moments_it_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    """REIDENTIFY_KILLS says how often; every start goes on from the last whole epoch."""
    quietly(command(data, tmp_path / "whole"))
    rng, out = random.Random(0), tmp_path / "killed"
    for _ in range(KILLS):
        process = subprocess.Popen(command(data, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started = time.monotonic()
        while process.poll() is None and not (out / "recipe.json").exists() and time.monotonic() - started < 60:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    if not (out / "weights.safetensors").exists():
        quietly(command(data, out))
    whole, killed = (load_file(tmp_path / run / "weights.safetensors") for run in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_two_processes_train_one_network(data: Path, tmp_path: Path) -> None:
    """Each takes its half of every batch, and one of them writes."""
    out = tmp_path / "both"
    quietly(command(data, out, "run.devices=2", "optimiser.epochs=2", "optimiser.freeze=1", "sampler.identities=2"))
    state = load_file(out / "weights.safetensors")
    assert all(torch.isfinite(value.float()).all() for value in state.values())
    assert (out / "history.csv").read_text().count("\n") == 3
